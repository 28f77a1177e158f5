"""Hard negatives of a batch: passages that resemble the right one but do not answer the query."""

from dataclasses import dataclass

import numpy as np

from hybrid_dist.batching.randomness import keyed_hash
from hybrid_dist.data.store.index import Index


@dataclass(frozen=True)
class Negatives:
    """Hard negatives of the rows of a batch, concatenated in the order of the rows.

    Shapes: B rows in the batch, H hard negatives in total.
    """

    counts: np.ndarray
    """Hard negatives of each row [B]."""
    offsets: np.ndarray
    """Position of each row's first hard negative in the list that the store has for it [B]."""
    passages: np.ndarray
    """Passage numbers [H]."""
    clusters: np.ndarray
    """Passage clusters [H]: the cluster of the uids that the passage answers."""

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Positions among the H hard negatives of those of some rows, in the order of the rows."""
        ends = self.counts.cumsum()
        return _ranges(ends[rows] - self.counts[rows], self.counts[rows])

    def add_to(self, totals: np.ndarray, values: np.ndarray) -> None:
        """Add the values [H] of hard negatives to the totals [B] of their rows, in place."""
        np.add.at(totals, np.repeat(np.arange(len(totals)), self.counts), values)


def draw_negatives(index: Index, passage_rows: np.ndarray, most: int, key: int) -> Negatives:
    """Up to `most` hard negatives for each row, from the list of its passage's row.

    They are in the passage's language, since otherwise the language would give the positive away.
    A hash of the row selects where in the list to start, so that each pass takes others.
    """
    starts = index.negative_starts[passage_rows]
    listed = index.negative_starts[passage_rows + 1] - starts
    counts = np.minimum(listed, most)
    offsets = keyed_hash(key, passage_rows) % np.maximum(listed, 1).astype(np.uint64)
    offsets = offsets.astype(np.int64)
    positions = _ranges(offsets, counts) % np.repeat(listed, counts)
    passages = index.negatives[np.repeat(starts, counts) + positions]
    return Negatives(counts, offsets, passages, index.passage_cluster[passages])


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenation of the ranges start, start + 1, ... of `count` numbers each."""
    ends = counts.cumsum()
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
