"""Ranks, signals and the machines they run on."""
