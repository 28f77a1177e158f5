"""The pairs of a store, as a source streams them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from hybrid_dist.data.reading import PAIRS, SCORED_PAIRS
from hybrid_dist.data.store.format import NEGATIVE_SCORES, POSITIVE_SCORES
from hybrid_dist.data.store.reader import Store

BLOCK = 4096
"""Pairs of a block."""


def stored_pairs(
    store: Store, rows: np.ndarray | None = None, scores: bool = False
) -> Iterator[pa.RecordBatch]:
    """The pairs of some ascending rows, or of all, in blocks; with `scores` if it has any."""
    rows = np.arange(store.index.num_rows) if rows is None else rows
    scores = scores and bool(store.scores)
    for start in range(0, len(rows), BLOCK):
        yield _block(store, rows[start : start + BLOCK], scores)


def _block(store: Store, rows: np.ndarray, scores: bool) -> pa.RecordBatch:
    index = store.index
    first, last = index.negative_starts[rows], index.negative_starts[rows + 1]
    counts = last - first
    starts = np.concatenate([[0], np.cumsum(counts)])
    at = np.repeat(first - starts[:-1], counts) + np.arange(starts[-1])

    def listed(values: object, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(values, kind))

    columns = {
        "uid": store.uids(rows),
        "lang": [index.languages[code] for code in index.language_of(rows)],
        "query": store.queries(rows),
        "passage": store.passages(rows),
        "negatives": listed(store.passage_texts(index.negatives[at]), pa.string()),
        "place": rows,
    }
    if scores:
        columns["positive_score"] = store.scores[POSITIVE_SCORES][rows]
        columns["negative_scores"] = listed(store.scores[NEGATIVE_SCORES][at], pa.float32())
    return pa.RecordBatch.from_pydict(columns, SCORED_PAIRS if scores else PAIRS)
