"""Reports: their content, tables, plots and pages, and comparisons of runs."""
