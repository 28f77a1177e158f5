"""Vectors that were made elsewhere: a folder with two arrays and the ids of their rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.names import first_of, passage_names, positions, question_names
from hybrid_dist.evaluation.tasks import Task

LAYOUT = "queries.npy, query_ids.txt, corpus.npy and corpus_ids.txt"
AT_ONCE = 65536
"""Rows whose lengths are taken at once."""


@dataclass(frozen=True)
class _Array:
    """Rows of a mapped file, in the task's order, divided by a power of two."""

    rows: np.ndarray
    place: np.ndarray
    divisor: float

    def __getitem__(self, some: slice) -> np.ndarray:
        vectors = self.rows[self.place[some]].astype(np.float32)
        return np.ascontiguousarray(vectors / np.float32(self.divisor))


class GivenVectors:
    """The vectors of a task's questions and passages.

    They are compared by inner product as they are. Both sides are divided by a power of two that
    leaves no vector longer than 1, which the search expects; no rank and no tie changes by it.
    """

    def __init__(self, folder: Path, task: Task) -> None:
        self.name = str(folder)
        self._questions = _read(folder, "queries.npy", "query_ids.txt", task, True)
        self._passages = _read(folder, "corpus.npy", "corpus_ids.txt", task, False)
        sizes = [array.rows.shape[1] for array in (self._questions, self._passages)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"{folder}: queries.npy has vectors of {sizes[0]} numbers, corpus.npy of "
                f"{sizes[1]}; both have to come from one model"
            )

    @property
    def settings(self) -> dict[str, Any]:
        told = (f"up to {array.divisor:g}" for array in (self._questions, self._passages))
        return {"vectors": f"given; lengths of questions and passages {' and '.join(told)}"}

    def questions(self, rows: slice) -> np.ndarray:
        return self._questions[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]


def _read(folder: Path, array: str, ids: str, task: Task, asks: bool) -> _Array:
    names = question_names(task) if asks else passage_names(task)
    codes = task.question_language if asks else task.passage_language
    file = folder / ids
    try:
        given = file.read_text("utf-8").splitlines()
        rows = np.load(folder / array, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise UserError(f"{folder}: no {missing} in it; expected {LAYOUT}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot read {array} and {ids} ({error})") from None
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise UserError(
            f"{folder / array}: expected an array [rows, numbers] of floats, found "
            f"{rows.dtype} {list(rows.shape)}"
        )
    if len(rows) != len(given):
        raise UserError(
            f"{folder}: {array} has {len(rows):,} rows, {ids} {len(given):,} lines; "
            "one line for each row"
        )
    place = positions(names, given, str(file), task, codes)
    return _Array(rows, place, _divisor(rows, given, folder / array))


def _divisor(rows: np.ndarray, ids: list[str], file: Path) -> float:
    """The smallest power of two that is no less than the longest vector."""
    longest = 0.0
    for low in range(0, len(rows), AT_ONCE):
        some = rows[low : low + AT_ONCE].astype(np.float64)
        lengths = np.sqrt((some * some).sum(axis=1))
        broken = np.flatnonzero(~np.isfinite(lengths))
        if len(broken):
            count = int(sum(~np.isfinite(part).all() for part in rows))
            raise UserError(
                f"{file}: {count:,} vectors have NaN or infinite values "
                f"({first_of(ids[low + row] for row in broken)}); make them again"
            )
        longest = max(longest, float(lengths.max()))
    return float(2.0 ** np.ceil(np.log2(longest))) if longest > 0 else 1.0
