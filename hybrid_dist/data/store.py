"""A store: pairs sorted so that a language and a uid are slices, and numbers about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.pairs import read_pairs

Ints = np.ndarray


@dataclass(frozen=True)
class Index:
    """All that a plan may know of a store. Rows are sorted by (language, uid); uids are numbers."""

    languages: tuple[str, ...]
    row_language: Ints
    """Of each row: its language, as a position in `languages`."""
    row_uid: Ints
    """Of each row: its uid's number."""
    language_starts: Ints
    """Rows of language l are `language_starts[l] : language_starts[l + 1]`."""
    uid_starts: Ints
    """Rows of uid u are `uid_rows[uid_starts[u] : uid_starts[u + 1]]`, in order of language."""
    uid_rows: Ints
    passage_group: Ints
    """Of each uid: equal for uids that share a passage in any language."""
    query_group: Ints
    """Of each uid: equal for uids that share a question in any language."""

    @property
    def rows(self) -> int:
        return len(self.row_uid)

    @property
    def uids(self) -> int:
        return len(self.uid_starts) - 1

    def language_sizes(self) -> Ints:
        return np.diff(self.language_starts)


class Store:
    """Pairs in memory: texts by row, and their index."""

    def __init__(self, table: pa.Table) -> None:
        self._queries = table["query"].combine_chunks()
        self._passages = table["passage"].combine_chunks()
        self._uids = table["uid"].combine_chunks()
        self.index = build_index(table)

    @classmethod
    def open(cls, patterns: Sequence[str]) -> "Store":
        """The store of pair files; see `data.pairs` for their form."""
        return cls(read_pairs(patterns))

    def queries(self, rows: Ints) -> list[str]:
        return self._queries.take(pa.array(rows)).to_pylist()

    def passages(self, rows: Ints) -> list[str]:
        return self._passages.take(pa.array(rows)).to_pylist()

    def uids(self, rows: Ints) -> list[str]:
        return self._uids.take(pa.array(rows)).to_pylist()


def build_index(table: pa.Table) -> Index:
    """The index of a table sorted by (lang, uid)."""
    languages = tuple(sorted(set(pc.unique(table["lang"]).to_pylist())))
    names = pa.array(languages)
    row_language = pc.index_in(table["lang"], names).to_numpy().astype(np.int32)
    row_uid = _numbered(table["uid"])
    uid_rows = np.lexsort((row_language, row_uid))
    uids = int(row_uid.max()) + 1
    return Index(
        languages=languages,
        row_language=row_language,
        row_uid=row_uid,
        language_starts=np.searchsorted(row_language, np.arange(len(languages) + 1)),
        uid_starts=np.searchsorted(row_uid[uid_rows], np.arange(uids + 1)),
        uid_rows=uid_rows,
        passage_group=_groups(row_uid, _numbered(table["passage"]), uids),
        query_group=_groups(row_uid, _numbered(table["query"]), uids),
    )


def _numbered(column: pa.ChunkedArray) -> Ints:
    """Equal texts get equal numbers, from 0, in the sorted order of the texts."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()]


def _groups(row_uid: Ints, row_text: Ints, uids: int) -> Ints:
    """The smallest uid that each uid is joined with by equal texts, over any number of steps."""
    texts = int(row_text.max()) + 1
    group = np.arange(uids)
    while True:
        of_text = np.full(texts, uids)
        np.minimum.at(of_text, row_text, group[row_uid])
        joined = group.copy()
        np.minimum.at(joined, row_uid, of_text[row_text])
        joined = joined[joined]  # jump to the group of the group: chains shorten by half
        if np.array_equal(joined, group):
            return group
        group = joined
