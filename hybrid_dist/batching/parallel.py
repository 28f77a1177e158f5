"""Parallel rows of a batch: the same uid in another language, for `align`."""

from dataclasses import dataclass

import numpy as np

from hybrid_dist.batching.randomness import key, keyed_hash, uniform
from hybrid_dist.config.schema import Align
from hybrid_dist.data.store.index import Index


@dataclass(frozen=True)
class Parallel:
    """Translations of some rows' texts. Shapes: B rows in the batch."""

    aligned: np.ndarray
    """Whether each row is aligned with translations [B]."""
    query_row: np.ndarray | None
    """A row of the same uid in another language than the query's [B], with meaning where `aligned`.
    None: queries are not aligned."""
    passage_row: np.ndarray | None
    """The same for passages."""

    @property
    def num_texts(self) -> int:
        """Translations in the batch."""
        sides = (self.query_row is not None) + (self.passage_row is not None)
        return int(self.aligned.sum()) * sides


def draw_parallel(
    index: Index,
    uids: np.ndarray,
    query_row: np.ndarray,
    passage_row: np.ndarray,
    align: Align,
    batch_key: int,
) -> Parallel:
    """Choose `align.share` of the rows whose uid is in two languages or more, by a hash of the uid,
    and for each text a translation: every other language of the uid is equally likely."""
    starts, ends = index.uid_starts[uids].astype(np.int64), index.uid_starts[uids + 1]
    others = ends.astype(np.int64) - starts - 1
    aligned = (others >= 1) & (uniform(key(batch_key, "aligned"), uids) < align.share)

    def translations(rows: np.ndarray, side: str) -> np.ndarray:
        drawn = keyed_hash(key(batch_key, side), uids) % np.maximum(others, 1).astype(np.uint64)
        positions = starts + drawn.astype(np.int64)
        # rows of a uid ascend: from its own row on, the others are one further
        positions += index.uid_rows[positions] >= rows
        translated: np.ndarray = index.uid_rows[np.minimum(positions, starts + others)]
        return translated

    return Parallel(
        aligned,
        None if align.of == "passages" else translations(query_row, "queries"),
        None if align.of == "queries" else translations(passage_row, "passages"),
    )
