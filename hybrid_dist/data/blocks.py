"""Input files: globs, transparent decompression, and blocks of whole lines."""

import glob
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.errors import UserError

BLOCK = 8 << 20
PIECE = 1 << 20
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException)
"""What reading a damaged compressed file raises."""
EMPTY = "is empty, as a copy that failed is; copy it again, or leave it out"


class Block(NamedTuple):
    """Whole lines of a file."""

    file: Path
    line: int
    """The number of its first line."""
    content: bytes


def path_exists(path: str) -> bool:
    """Whether a path names a file or folder; False for strings that cannot be paths."""
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # a name that is too long, a NUL in it
        return False


def expand_globs(patterns: Sequence[str]) -> list[Path]:
    """The files that paths and globs name, without repetition, in a fixed order."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        names = [pattern] if path_exists(pattern) else _matches(pattern)  # a name may have brackets
        if not names:
            shown = pattern or "an empty path"
            raise UserError(f"{shown}: no such file; a pair file has one JSON object a line")
        for name in names:
            if Path(name).is_dir():
                raise UserError(f"{name}: is a folder; name its pair files, as in {name}/*.jsonl")
            files[Path(name)] = None
    return list(files)


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute ones too


def open_decompressed(file: Path) -> BinaryIO:
    """A stream of a file's bytes; `.gz` and `.zst` are decompressed."""
    if file.suffix == ".gz":
        return cast(BinaryIO, gzip.open(file))
    if file.suffix == ".zst":
        stream = pa.CompressedInputStream(pa.OSFile(str(file)), "zstd")
        return cast(BinaryIO, io.BufferedReader(stream, PIECE))
    return file.open("rb")


def check_all_rows_read(parquet: pq.ParquetFile, rows: int) -> None:
    """Raise a ValueError if batches ended early: pyarrow reads columns of a damaged file up to the
    shortest one."""
    expected = parquet.metadata.num_rows
    if rows != expected:
        raise ValueError(f"it should have {expected:,} rows, and {rows:,} can be read")


def check_columns(file: Path, names: Sequence[str]) -> None:
    """Refuse a Parquet file in which two columns have one name."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(
            f"{file}: column {repeated[0]!r} comes {names.count(repeated[0])} times; keep one"
        )


def line_blocks(file: Path, size: int = BLOCK) -> Iterator[Block]:
    """A file in blocks of whole lines, of about `size` bytes each."""
    line, held, bytes_held = 1, list[bytes](), 0
    try:
        with open_decompressed(file) as stream:
            while piece := stream.read(PIECE):
                held.append(piece)
                bytes_held += len(piece)
                end = piece.rfind(b"\n") + 1
                if bytes_held >= size and end:
                    content = b"".join([*held[:-1], piece[:end]])
                    held = [piece[end:]]
                    bytes_held = len(held[0])
                    yield Block(file, line, content)
                    line += int(np.count_nonzero(np.frombuffer(content, np.uint8) == ord("\n")))
    except BROKEN as error:
        reached = line + sum(piece.count(b"\n") for piece in held)
        kind = file.suffix.removeprefix(".")
        problem = f"broken {'gzip' if kind == 'gz' else kind} file ({error}); copy it again"
        raise UserError(f"{file}:{reached}: {problem}") from None
    except OSError as error:
        reached = line + sum(piece.count(b"\n") for piece in held)
        if file.suffix == ".zst" and error.errno is None:
            problem = f"broken zstd file ({error}); copy it again"
            raise UserError(f"{file}:{reached}: {problem}") from None
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    if content := b"".join(held):
        yield Block(file, line, content)
    elif line == 1:
        raise UserError(f"{file}: {EMPTY}")
