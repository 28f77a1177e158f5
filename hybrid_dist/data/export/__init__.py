"""Pairs of a store in the files of other trainers."""
