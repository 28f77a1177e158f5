"""Warnings say which rank they come from, where there are several."""

import logging
import os
import sys
import warnings
from typing import Any, TextIO

from hybrid_dist.runtime.loading_line import CLEAR_LINE
from hybrid_dist.text import printable


def prefix_warnings_with_rank() -> None:
    """From here on, Python's warnings and the warnings and errors of libraries' loggers begin with
    `rank N:` in this process. Python shows each of its own once."""
    rank, world = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE"))
    if world < 2:
        return
    who = f"rank {rank}: "
    make_record = logging.getLogRecordFactory()

    def named(
        name: str, level: int, path: str, line: int, message: object, *rest: Any, **more: Any
    ) -> logging.LogRecord:
        if level >= logging.WARNING:
            message = f"{who}{message}"
        return make_record(name, level, path, line, message, *rest, **more)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        # the first rank's live line may stand where another rank writes
        clear = CLEAR_LINE if rank and os.isatty(2) else ""
        text = printable(f"{who}{category.__name__}: {message} ({filename}:{lineno})", lines=True)
        (file or sys.stderr).write(f"{clear}{text}\n")

    logging.setLogRecordFactory(named)
    warnings.showwarning = show
