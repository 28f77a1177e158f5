"""Ranks, signals, launch checks, and file I/O that a kill leaves whole."""
