"""A line on the terminal while libraries are loading, which takes seconds, and Ctrl-C meanwhile."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

CLEAR_LINE = "\r\x1b[2K"


@contextmanager
def loading(program: str) -> Iterator[None]:
    """Show the line on a terminal until the imports inside are done; once, on the first rank.

    Ctrl-C ends the process at once: libraries that are being imported may swallow an exception.
    """
    terminal, is_first = sys.stderr, os.environ.get("RANK", "0") == "0"
    shows = terminal.isatty() and is_first and "torch" not in sys.modules
    clear = CLEAR_LINE if shows else ""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        if is_first:
            terminal.write(f"{clear}{program}: interrupted\n")
            terminal.flush()
        os._exit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    listens = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if listens:
        signal.signal(signal.SIGINT, leave)
    if shows:
        terminal.write(f"{program}: loading ...")
        terminal.flush()
    try:
        yield
    finally:
        if listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if shows:
            terminal.write(CLEAR_LINE)
            terminal.flush()
