"""Precomputed vectors: a folder with two arrays and the ids of their rows."""

import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.names import first_of, passage_names, positions, query_names
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.runtime.ranks import Ranks

LAYOUT = "queries.npy, query_ids.txt, corpus.npy and corpus_ids.txt"
ROWS_PER_BLOCK = 65536
"""Rows that are converted to float64 at once."""
RANGE = 60
"""Norms may differ by a factor of up to 2**RANGE. Inner products of shorter vectors would be
subnormal in float32, and tie."""


UNIT_TOLERANCE = 0.01
"""Norms of vectors in half precision differ from 1 by less."""


@dataclass(frozen=True)
class _Norms:
    """The norms of the rows of a file."""

    exponent: int
    """The smallest e for which 2**e is at least the largest norm."""
    zeros: int
    shortest: float
    """Of the vectors that are not zero. Infinite or 0 where a float64 cannot hold it."""
    longest: float

    def __str__(self) -> str:
        norms = f"{self.shortest:.4g}"
        if f"{self.longest:.4g}" != norms:
            norms += f" to {self.longest:.4g}"
        return norms + (f" ({self.zeros:,} are 0)" if self.zeros else "")

    @property
    def are_one(self) -> bool:
        return max(abs(self.shortest - 1), abs(self.longest - 1)) <= UNIT_TOLERANCE


@dataclass(frozen=True)
class _Array:
    """Rows of a memory-mapped file in the task's order, divided by 2**exponent."""

    file: Path
    rows: np.ndarray
    """[rows of the file, dimension]"""
    place: np.ndarray | range
    """[queries or passages]: the row of each in the file; a range if they are in the same order."""
    norms: _Norms

    @property
    def exponent(self) -> int:
        return self.norms.exponent

    def __getitem__(self, numbers: slice) -> np.ndarray:
        place = np.asarray(self.place[numbers])
        vectors = np.empty((len(place), self.rows.shape[1]), np.float32)
        for low in range(0, len(place), ROWS_PER_BLOCK):
            part = self.rows[place[low : low + ROWS_PER_BLOCK]].astype(np.float64)
            vectors[low : low + ROWS_PER_BLOCK] = np.ldexp(part, -self.exponent)
        return vectors


class PrecomputedVectors:
    """The vectors of a task's queries and passages, read from a folder.

    Scores are inner products of the vectors as given. Each side is divided by a power of two so
    that no norm exceeds 1, which the search requires; this changes no rank and no tie.
    """

    def __init__(self, folder: Path, task: Task, ranks: Ranks | None = None) -> None:
        """All ranks construct it together; the first one reads ids, and checks the vectors."""
        self.name = str(folder)
        files = folder / "queries.npy", folder / "corpus.npy"
        found = (ranks or Ranks()).decide_on_first(
            lambda: (
                _read(files[0], folder / "query_ids.txt", task, True),
                _read(files[1], folder / "corpus_ids.txt", task, False),
            )
        )
        self._queries, self._passages = (
            _Array(file, _rows(file), *of_file) for file, of_file in zip(files, found, strict=True)
        )
        sizes = [array.rows.shape[1] for array in (self._queries, self._passages)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"{folder}: queries.npy has vectors of dimension {sizes[0]}, corpus.npy "
                f"of {sizes[1]}; both must come from one model"
            )

    @property
    def settings(self) -> dict[str, Any]:
        norms = self._queries.norms, self._passages.norms
        return {"vectors": f"given; norms of queries {norms[0]}, of passages {norms[1]}"}

    @property
    def warnings(self) -> list[str]:
        """Lines on vectors that are zero, and on norms that are not 1."""
        lines = []
        for array in (self._queries, self._passages):
            if array.norms.zeros:
                lines.append(
                    f"{array.file}: {array.norms.zeros:,} of {len(array.rows):,} are zero vectors, "
                    "which score 0 with everything; encode them again"
                )
            if not array.norms.are_one:
                lines.append(
                    f"{array.file}: norms are {array.norms}, not 1, and scores are inner products; "
                    "divide the vectors by their norms if the model is for cosine similarity"
                )
        return lines

    def queries(self, rows: slice) -> np.ndarray:
        return self._queries[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]


def _read(
    file: Path, ids: Path, task: Task, are_queries: bool
) -> tuple[np.ndarray | range, _Norms]:
    """The row of each query or passage in a file of vectors, and their norms."""
    names = query_names(task) if are_queries else passage_names(task)
    codes = task.query_language if are_queries else task.passage_language
    given = _ids(ids)
    rows = _rows(file)
    if len(rows) != len(given):
        raise UserError(
            f"{file.parent}: {file.name} has {len(rows):,} rows, {ids.name} {len(given):,} lines; "
            "give one id per row"
        )
    same = given == names
    place = range(len(given)) if same else positions(names, given, str(ids), task, codes)
    return place, _norms(rows, given, file)


def _ids(file: Path) -> list[str]:
    """The ids in a file, one per line."""
    try:
        lines = file.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"{file.parent}: has no {file.name}; expected {LAYOUT}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 (byte {error.start}); give one id per line") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _rows(file: Path) -> np.ndarray:
    """The memory-mapped array of a file: floats, [rows, dimension]."""
    expected = "expected an array of floats [rows, dimension], as numpy.save writes it"
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{file.parent}: has no {file.name}; expected {LAYOUT}") from None
    except (
        *(OSError, ValueError, EOFError, TypeError, OverflowError, SyntaxError, RecursionError),
        *(MemoryError, KeyError, NotImplementedError, tokenize.TokenError, zipfile.BadZipFile),
    ) as error:  # NumPy raises any of these on a damaged header
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file}: is not a readable array ({problem}); {expected}") from None
    if not isinstance(rows, np.ndarray):
        rows.close()
        raise UserError(f"{file}: is an .npz archive; {expected}")
    if rows.ndim != 2 or rows.dtype.kind != "f" or not rows.shape[1]:
        raise UserError(f"{file}: {expected}, but it holds {rows.dtype} {list(rows.shape)}")
    return rows


def _norms(rows: np.ndarray, ids: list[str], file: Path) -> _Norms:
    """The norms of all rows.

    Refuses vectors so short, beside the longest, that their float32 scores would tie.
    """
    exponents = np.empty(len(rows), np.int64)
    extremes: list[float] = []
    for low in range(0, len(rows), ROWS_PER_BLOCK):
        part, norms = _block_norms(rows, low, ids, file)
        exponents[low : low + ROWS_PER_BLOCK] = part
        extremes += [norms.min(), norms.max()] if len(norms) else []
    if not np.any(exponents > ZERO_NORM):
        raise UserError(
            f"{file}: all {len(rows):,} vectors are 0 ({rows.dtype} {list(rows.shape)}), so that "
            "all scores tie; encode them again"
        )
    longest = int(exponents.max())
    short = np.flatnonzero((exponents > ZERO_NORM) & (exponents < longest - RANGE))
    if len(short):
        raise UserError(
            f"{file}: {len(short):,} of {len(rows):,} vectors are shorter than the longest "
            f"({_power(longest)}) by a factor above 2**{RANGE}, so that their scores tie in "
            f"float32 ({first_of(ids[row] for row in short)}); rescale them"
        )
    zeros = int((exponents == ZERO_NORM).sum())
    return _Norms(longest, zeros, float(min(extremes)), float(max(extremes)))


ZERO_NORM = -(1 << 20)
"""The exponent that stands for a zero vector."""


def _block_norms(
    rows: np.ndarray, low: int, ids: list[str], file: Path
) -> tuple[np.ndarray, np.ndarray]:
    """For one block of rows: the smallest e of each with 2**e at least its norm, and the norms of
    those that are not zero."""
    with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite raise below
        block = rows[low : low + ROWS_PER_BLOCK].astype(np.float64)
    largest = np.abs(block).max(axis=1)
    broken = np.flatnonzero(~np.isfinite(largest))
    if len(broken):
        count = sum(
            int((~np.isfinite(rows[start : start + ROWS_PER_BLOCK]).all(axis=1)).sum())
            for start in range(0, len(rows), ROWS_PER_BLOCK)
        )
        raise UserError(
            f"{file}: {count:,} vectors have NaN or infinite values "
            f"({first_of(ids[low + row] for row in broken)}); encode them again"
        )
    _, scale = np.frexp(largest)  # scale each vector by its own power, so that no square overflows
    scaled = np.ldexp(block, -scale[:, None])
    norms = np.sqrt((scaled * scaled).sum(axis=1))
    mantissa, exponent = np.frexp(norms)
    exponents = np.where(largest > 0, scale + exponent - (mantissa == 0.5), ZERO_NORM)
    with np.errstate(over="ignore"):
        return exponents, np.ldexp(norms, scale)[largest > 0]


def _power(exponent: int) -> str:
    return f"{2.0**exponent:g}" if abs(exponent) < 64 else f"2**{exponent}"
