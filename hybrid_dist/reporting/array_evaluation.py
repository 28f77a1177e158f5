"""`evaluate`: score vectors in memory on a task, and return a Report."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hybrid_dist.evaluation.evaluator import score_vectors
from hybrid_dist.evaluation.tasks import RowOrder, Task
from hybrid_dist.reporting.report import Report, build_report
from hybrid_dist.runtime.ranks import Ranks

NORM_TOLERANCE = 1e-3
"""How far norms may be from 1: more than rounding to float16 changes them."""
ROWS_PER_BLOCK = 65536
"""Rows that are checked at once."""


@dataclass(frozen=True)
class _Arrays:
    """Vectors in the order of the task's queries and passages."""

    name: str
    query_vectors: np.ndarray
    passage_vectors: np.ndarray

    def queries(self, rows: slice) -> np.ndarray:
        return self.query_vectors[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self.passage_vectors[rows]


def evaluate(
    task: Task,
    query_vectors: Any,
    passage_vectors: Any,
    *,
    model: str = "vectors in memory",
    device: str | torch.device = "cpu",
) -> Report:
    """Score vectors on a task. Writes nothing; `Report.write` does.

    Args:
        task: For a task of `Task.from_qrels`, rows follow the order of its queries and its corpus;
            for any other, that of `task.query_texts` and `task.passage_texts`.
        query_vectors: Floats of norm 1, [queries, dimension]: a NumPy array, a torch tensor, or
            anything that NumPy makes an array of.
        passage_vectors: The same, [passages, dimension].
        model: Names the vectors in the report.
        device: Where scores are computed, in float32.

    Raises:
        ValueError: for arrays of the wrong shape, and for rows not finite or not of norm 1.
    """
    queries = _checked("query_vectors", query_vectors, task.query_rows, len(task.query_ids))
    passages = _checked(
        "passage_vectors", passage_vectors, task.passage_rows, len(task.passage_ids)
    )
    if queries.shape[1] != passages.shape[1]:
        raise ValueError(
            f"query_vectors are of dimension {queries.shape[1]}, passage_vectors of dimension "
            f"{passages.shape[1]}; both must come from one model"
        )
    arrays = _Arrays(model, queries, passages)
    ranks = Ranks(device=torch.device(device))
    scored = score_vectors(task, arrays, ranks, lambda message: None)
    return build_report(
        task, scored.name, scored.ranking, scored.top, scored.settings, scored.timing, {}
    )


def _checked(name: str, vectors: Any, order: RowOrder | None, count: int) -> np.ndarray:
    """The vectors in float32, in the task's order."""
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().to("cpu", torch.float32).numpy()
    array = np.asarray(vectors)
    if array.dtype.kind != "f":
        raise ValueError(f"{name}: expected floats, not {array.dtype}")
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name}: expected an array [rows, dimension], not {list(array.shape)}")
    expected = count if order is None else order.count
    if len(array) != expected:
        raise ValueError(f"{name}: has {len(array):,} rows for {expected:,} texts; give one each")
    array = np.ascontiguousarray(array, np.float32)
    _check_norms(name, array)
    return array if order is None else array[order.rows]


def _check_norms(name: str, array: np.ndarray) -> None:
    norms = np.concatenate(
        [
            np.linalg.norm(array[low : low + ROWS_PER_BLOCK].astype(np.float64), axis=1)
            for low in range(0, len(array), ROWS_PER_BLOCK)
        ]
    )
    if len(broken := np.flatnonzero(~np.isfinite(norms))):
        raise ValueError(
            f"{name}: {len(broken):,} of {len(array):,} rows have NaN or infinite values "
            f"(first: row {broken[0]})"
        )
    if len(wrong := np.flatnonzero(np.abs(norms - 1) > NORM_TOLERANCE)):
        raise ValueError(
            f"{name}: {len(wrong):,} of {len(array):,} rows are not of norm 1 (first: row "
            f"{wrong[0]} of norm {norms[wrong[0]]:.4g}); divide each row by its norm"
        )
