"""Pairs in, stores out: reading what people have, and numbers about it for the plan."""
