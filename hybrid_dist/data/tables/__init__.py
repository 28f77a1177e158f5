"""Tables of any columns as training pairs: a mapping of columns, and the files it reads."""
