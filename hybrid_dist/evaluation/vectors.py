"""Vectors that were made elsewhere: a folder with two arrays and the ids of their rows."""

import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.names import first_of, passage_names, positions, query_names
from hybrid_dist.evaluation.tasks import Task

LAYOUT = "queries.npy, query_ids.txt, corpus.npy and corpus_ids.txt"
AT_ONCE = 65536
"""Rows whose lengths are taken at once."""
RANGE = 60
"""Vectors may differ in length by 2 to this power: the products of shorter ones with each other
would be no normal float32 numbers, and tie."""


@dataclass(frozen=True)
class _Array:
    """Rows of a mapped file, in the task's order, divided by 2 to the power of `exponent`."""

    rows: np.ndarray
    place: np.ndarray
    exponent: int

    def __getitem__(self, some: slice) -> np.ndarray:
        place = self.place[some]
        vectors = np.empty((len(place), self.rows.shape[1]), np.float32)
        for low in range(0, len(place), AT_ONCE):
            part = self.rows[place[low : low + AT_ONCE]].astype(np.float64)
            vectors[low : low + AT_ONCE] = np.ldexp(part, -self.exponent)
        return vectors


class GivenVectors:
    """The vectors of a task's queries and passages.

    They are compared by inner product as they are. Both sides are divided by a power of two that
    leaves no vector longer than 1, which the search expects; no rank and no tie changes by it.
    """

    def __init__(self, folder: Path, task: Task) -> None:
        self.name = str(folder)
        self._queries = _read(folder, "queries.npy", "query_ids.txt", task, True)
        self._passages = _read(folder, "corpus.npy", "corpus_ids.txt", task, False)
        sizes = [array.rows.shape[1] for array in (self._queries, self._passages)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"{folder}: queries.npy has vectors of {sizes[0]} numbers, corpus.npy of "
                f"{sizes[1]}; both have to come from one model"
            )

    @property
    def settings(self) -> dict[str, Any]:
        told = (f"up to {_power(array.exponent)}" for array in (self._queries, self._passages))
        return {"vectors": f"given; lengths of queries and passages {' and '.join(told)}"}

    def queries(self, rows: slice) -> np.ndarray:
        return self._queries[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]


def _read(folder: Path, array: str, ids: str, task: Task, asks: bool) -> _Array:
    names = query_names(task) if asks else passage_names(task)
    codes = task.query_language if asks else task.passage_language
    given = _ids(folder / ids)
    rows = _rows(folder / array)
    if len(rows) != len(given):
        raise UserError(
            f"{folder}: {array} has {len(rows):,} rows, {ids} {len(given):,} lines; "
            "one line for each row"
        )
    place = positions(names, given, str(folder / ids), task, codes)
    return _Array(rows, place, _exponent(rows, given, folder / array))


def _ids(file: Path) -> list[str]:
    """The lines of a file."""
    try:
        lines = file.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"{file.parent}: no {file.name} in it; expected {LAYOUT}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 (byte {error.start}); one id a line") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _rows(file: Path) -> np.ndarray:
    """The array of a file, mapped: [rows, numbers] of floats."""
    expected = "expected an array [rows, numbers] of floats, as numpy.save writes one"
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{file.parent}: no {file.name} in it; expected {LAYOUT}") from None
    except (
        *(OSError, ValueError, EOFError, TypeError, OverflowError, SyntaxError, RecursionError),
        *(MemoryError, KeyError, NotImplementedError, tokenize.TokenError, zipfile.BadZipFile),
    ) as error:  # of a header that is none, NumPy raises whatever its parts do
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file}: is no array that can be read ({problem}); {expected}") from None
    if not isinstance(rows, np.ndarray):
        rows.close()
        raise UserError(f"{file}: is an archive (.npz) of arrays; {expected}")
    if rows.ndim != 2 or rows.dtype.kind != "f" or not rows.shape[1]:
        raise UserError(f"{file}: {expected}, found {rows.dtype} {list(rows.shape)}")
    return rows


def _exponent(rows: np.ndarray, ids: list[str], file: Path) -> int:
    """The smallest power of two that is no less than the longest vector. Refuses vectors that
    float32 cannot tell apart beside the longest."""
    lengths = np.empty(len(rows), np.int64)
    for low in range(0, len(rows), AT_ONCE):
        lengths[low : low + AT_ONCE] = _exponents(rows, low, ids, file)
    if not np.any(lengths > NO_LENGTH):
        raise UserError(
            f"{file}: all {len(rows):,} vectors are 0 ({rows.dtype} {list(rows.shape)}), so that "
            "all scores tie; make them again"
        )
    longest = int(lengths.max())
    short = np.flatnonzero((lengths > NO_LENGTH) & (lengths < longest - RANGE))
    if len(short):
        raise UserError(
            f"{file}: {len(short):,} of {len(rows):,} vectors are shorter than the longest "
            f"({_power(longest)}) by more than 2**{RANGE}, so that their scores tie in float32 "
            f"({first_of(ids[row] for row in short)}); scale them"
        )
    return longest


NO_LENGTH = -(1 << 20)
"""Stands for the exponent of a vector of zeros."""


def _exponents(rows: np.ndarray, low: int, ids: list[str], file: Path) -> np.ndarray:
    """Of some rows: the smallest powers of two that are no less than their lengths."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told below
        some = rows[low : low + AT_ONCE].astype(np.float64)
    largest = np.abs(some).max(axis=1)
    broken = np.flatnonzero(~np.isfinite(largest))
    if len(broken):
        count = sum(
            int((~np.isfinite(rows[start : start + AT_ONCE]).all(axis=1)).sum())
            for start in range(0, len(rows), AT_ONCE)
        )
        raise UserError(
            f"{file}: {count:,} vectors have NaN or infinite values "
            f"({first_of(ids[low + row] for row in broken)}); make them again"
        )
    _, scale = np.frexp(largest)  # each vector by itself, so that no square leaves float64
    scaled = np.ldexp(some, -scale[:, None])
    mantissa, exponent = np.frexp(np.sqrt((scaled * scaled).sum(axis=1)))
    return np.where(largest > 0, scale + exponent - (mantissa == 0.5), NO_LENGTH)


def _power(exponent: int) -> str:
    return f"{2.0**exponent:g}" if abs(exponent) < 64 else f"2**{exponent}"
