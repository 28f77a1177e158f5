"""Hard negatives of a batch: passages that look right and are not, as the store lists them."""

from dataclasses import dataclass

import numpy as np

from hybrid_dist.batching.randomness import keyed_hash
from hybrid_dist.data.store.reader import Index


@dataclass(frozen=True)
class Negatives:
    """Hard negatives of the rows of a batch, one row's after the other."""

    counts: np.ndarray
    """Of each row: how many."""
    passages: np.ndarray
    """Numbers of passages."""
    groups: np.ndarray
    """Of each: the group of the pairs that it would answer."""

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Positions of some rows' hard negatives, in the order of the rows."""
        ends = self.counts.cumsum()
        return _ranges(ends[rows] - self.counts[rows], self.counts[rows])

    def add_to(self, totals: np.ndarray, values: np.ndarray) -> None:
        """Add each hard negative's value to the total of its row."""
        np.add.at(totals, np.repeat(np.arange(len(totals)), self.counts), values)


def draw_negatives(index: Index, passage_rows: np.ndarray, most: int, key: int) -> Negatives:
    """At most so many for each row, of those that its passage's row lists.

    In the passage's language, as the passage is: else the language would tell right from wrong.
    A row's hash says where in its list to begin, so that another pass takes others.
    """
    starts = index.negative_starts[passage_rows]
    listed = index.negative_starts[passage_rows + 1] - starts
    counts = np.minimum(listed, most)
    begin = keyed_hash(key, passage_rows) % np.maximum(listed, 1).astype(np.uint64)
    turn = _ranges(begin.astype(np.int64), counts) % np.repeat(listed, counts)
    passages = index.negatives[np.repeat(starts, counts) + turn]
    return Negatives(counts, passages, index.passage_cluster[passages])


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... for each start, as many as its count."""
    ends = counts.cumsum()
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
