"""The index of a store: numbers only. It is all that a plan reads of the pairs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hybrid_dist.config.sources import Mix

Ints = np.ndarray
UNCUT = (1 << 16, 1 << 16)
"""Above any length in an index."""


@dataclass(frozen=True, eq=False)  # arrays have no equality: an index is itself
class Index:
    """What a plan may use of a store. Rows are sorted by (language, uid); uids are numbers."""

    languages: tuple[str, ...]
    row_uid: Ints
    """The uid of each row."""
    language_starts: Ints
    """Rows of language l are `language_starts[l] : language_starts[l + 1]`."""
    uid_starts: Ints
    """Rows of uid u are `uid_rows[uid_starts[u] : uid_starts[u + 1]]`, in order of language."""
    uid_rows: Ints
    uid_passage_cluster: Ints
    """The cluster of each uid: equal for uids that share a passage in any language."""
    uid_query_cluster: Ints
    """The cluster of each uid: equal for uids that share a query in any language."""
    query_length: Ints
    """The length of each row's query in characters, or in tokens if the store has token ids;
    65,535 at most."""
    passage_length: Ints
    """The length of each passage, in the same unit."""
    passage_of: Ints
    """The passage of each row. Equal texts of a language are one passage."""
    negative_starts: Ints
    """The hard negatives of row r are `negatives[negative_starts[r] : negative_starts[r + 1]]`."""
    negatives: Ints
    """Numbers of passages."""
    passage_cluster: Ints
    """The `uid_passage_cluster` of each passage's uids; for a passage that is only a negative, a
    number that no other text has."""

    @property
    def row_language(self) -> Ints:
        """The language of each row, as a position in `languages`."""
        return np.repeat(np.arange(len(self.languages)), self.language_sizes())

    @cached_property
    def parallel_uids(self) -> Ints:
        """Uids with rows in two languages or more."""
        return np.flatnonzero(np.diff(self.uid_starts) >= 2).astype(np.int32)

    def language_of(self, rows: Ints) -> Ints:
        """The language of each of some rows."""
        return np.searchsorted(self.language_starts, rows, side="right") - 1

    def row_of(self, uids: Ints, language: int) -> Ints:
        """The rows of some uids in a language that has them all."""
        first, last = self.language_starts[language : language + 2]
        return first + np.searchsorted(self.row_uid[first:last], uids)

    @property
    def num_rows(self) -> int:
        return len(self.row_uid)

    @property
    def num_uids(self) -> int:
        return len(self.uid_starts) - 1

    def language_sizes(self) -> Ints:
        return np.diff(self.language_starts)


@dataclass(frozen=True)
class TrainingSource:
    """A set of pairs as a plan sees it; uids have no meaning across sources."""

    name: str
    index: Index
    max_lengths: tuple[int, int] = UNCUT
    """The maximum lengths of a query and a passage, in the index's unit."""
    weight: float | None = None
    """Share of the batches, relative to the other sources'; None: by the number of pairs."""
    mix: Mix | None = None
    """The mix of this source, if it has its own."""
    query_prefix: str | None = None
    passage_prefix: str | None = None
    """Prefixes of its texts; None: the model's."""

    @property
    def is_drawn(self) -> bool:
        """Whether batches are drawn from it: weight 0 leaves it out."""
        return self.weight != 0
