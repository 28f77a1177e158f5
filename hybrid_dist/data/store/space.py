"""How much room a disk must have for what is prepared of some files: an estimate, for messages."""

import glob
from collections.abc import Sequence
from pathlib import Path

PEAK, PEAK_WITH_TOKENS = 1.05, 1.9
"""Bytes that preparing takes at most, over those of the pair files as text: measured were 1.01, and
token ids of XLM-R take about as much as their text."""
UNPACKED = {".gz": 4.0, ".zst": 4.0, ".parquet": 2.0}
"""Bytes of text in a byte of a packed file, about."""


def estimated(paths: Sequence[str], tokens: bool = False) -> int | None:
    """About how many bytes the disk needs while pairs are prepared; None if no file is named."""
    found = [Path(name) for path in paths for name in glob.glob(path, recursive=True)]  # noqa: PTH207
    files = [
        file
        for path in found
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_file()
    ]
    size = sum(file.stat().st_size * UNPACKED.get(file.suffix, 1.0) for file in files)
    return int((PEAK_WITH_TOKENS if tokens else PEAK) * size) or None
