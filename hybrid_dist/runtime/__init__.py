"""What every part of the program runs on: atomic file I/O."""
