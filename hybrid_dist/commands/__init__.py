"""One command of `hybrid-dist` per file: options, one call of the library, output."""
