"""Studies: grids of runs that answer a question, and their reports (docs/studies.md)."""
