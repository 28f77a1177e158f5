"""An estimate of the disk space that a store needs, for messages."""

import glob
from collections.abc import Sequence
from pathlib import Path

PEAK, PEAK_WITH_TOKENS = 1.05, 1.9
"""Peak disk usage while a store is built, relative to the pair files as plain text: 1.01 was
measured, and token ids of XLM-R take about as much as their text."""
UNPACKED = {".gz": 4.0, ".zst": 4.0, ".parquet": 2.0}
"""Approximate bytes of text in one byte of a compressed file."""


def estimate_bytes(paths: Sequence[str], tokens: bool = False) -> int | None:
    """The approximate bytes needed to build a store of these files; None if there are none."""
    matches = [Path(name) for path in paths for name in glob.glob(path, recursive=True)]  # noqa: PTH207
    files = [
        file
        for path in matches
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_file()
    ]
    size = sum(file.stat().st_size * UNPACKED.get(file.suffix, 1.0) for file in files)
    return int((PEAK_WITH_TOKENS if tokens else PEAK) * size) or None
