"""The store: pairs on disk, sorted and memory-mapped."""
