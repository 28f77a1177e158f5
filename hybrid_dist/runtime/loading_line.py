"""A line on the terminal while libraries are loading, which takes seconds."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CLEAR_LINE = "\r\x1b[2K"


@contextmanager
def loading(program: str) -> Iterator[None]:
    """Show the line on a terminal until the imports inside are done; once, on the first rank."""
    terminal = sys.stderr
    shows = terminal.isatty() and os.environ.get("RANK", "0") == "0" and "torch" not in sys.modules
    if shows:
        terminal.write(f"{program}: loading ...")
        terminal.flush()
    try:
        yield
    finally:
        if shows:
            terminal.write(CLEAR_LINE)
            terminal.flush()
