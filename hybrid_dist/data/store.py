"""A store: pairs sorted so that a language and a uid are slices, and numbers about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.pairs import read_pairs

Ints = np.ndarray


@dataclass(frozen=True, eq=False)  # arrays have no equality: an index is itself
class Index:
    """All that a plan may know of a store. Rows are sorted by (language, uid); uids are numbers."""

    languages: tuple[str, ...]
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
    query_length: Ints
    """Of each row: its question's length in characters, 65,535 at most."""
    passage_length: Ints

    @property
    def row_language(self) -> Ints:
        """Of each row: its language, as a position in `languages`."""
        return np.repeat(np.arange(len(self.languages)), self.language_sizes())

    @cached_property
    def parallel_uids(self) -> Ints:
        """Uids that stand in two languages or more."""
        return np.flatnonzero(np.diff(self.uid_starts) >= 2).astype(np.int32)

    def language_of(self, rows: Ints) -> Ints:
        """The languages of some rows."""
        return np.searchsorted(self.language_starts, rows, side="right") - 1

    def row_of(self, uids: Ints, language: int) -> Ints:
        """The rows of some uids in a language that has them all."""
        first, last = self.language_starts[language : language + 2]
        return first + np.searchsorted(self.row_uid[first:last], uids)

    @property
    def rows(self) -> int:
        return len(self.row_uid)

    @property
    def uids(self) -> int:
        return len(self.uid_starts) - 1

    def language_sizes(self) -> Ints:
        return np.diff(self.language_starts)


@dataclass(frozen=True)
class Source:
    """A collection of pairs, as a plan knows it: uids mean something inside it only."""

    name: str
    index: Index


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


def open_sources(patterns: Sequence[str]) -> tuple[list[Store], list[Source]]:
    """Every pattern is a source of its own: files that share uids are named by one glob."""
    stores = [Store.open([pattern]) for pattern in patterns]
    return stores, [Source(p, s.index) for p, s in zip(patterns, stores, strict=True)]


def build_index(table: pa.Table) -> Index:
    """The index of a table sorted by (lang, uid)."""
    languages = tuple(sorted(set(pc.unique(table["lang"]).to_pylist())))
    names = pa.array(languages)
    row_language = pc.index_in(table["lang"], names).to_numpy()
    row_uid = _numbered(table["uid"])
    uid_rows = np.lexsort((row_language, row_uid)).astype(np.int32)
    uids = int(row_uid.max()) + 1
    return Index(
        languages=languages,
        row_uid=row_uid,
        language_starts=np.searchsorted(row_language, np.arange(len(languages) + 1)),
        uid_starts=np.searchsorted(row_uid[uid_rows], np.arange(uids + 1)),
        uid_rows=uid_rows,
        passage_group=_groups(row_uid, _numbered(table["passage"]), uids),
        query_group=_groups(row_uid, _numbered(table["query"]), uids),
        query_length=_lengths(table["query"]),
        passage_length=_lengths(table["passage"]),
    )


def _numbered(column: pa.ChunkedArray) -> Ints:
    """Equal texts get equal numbers, from 0, in the sorted order of the texts."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()]


def _lengths(column: pa.ChunkedArray) -> Ints:
    return np.minimum(pc.utf8_length(column).to_numpy(), 65535).astype(np.uint16)


def _groups(row_uid: Ints, row_text: Ints, uids: int) -> Ints:
    """The smallest uid that each uid is joined with by equal texts, over any number of steps."""
    texts = int(row_text.max()) + 1
    group = np.arange(uids, dtype=np.int32)
    while True:
        of_text = np.full(texts, uids, np.int32)
        np.minimum.at(of_text, row_text, group[row_uid])
        joined = group.copy()
        np.minimum.at(joined, row_uid, of_text[row_text])
        joined = joined[joined]  # jump to the group of the group: chains shorten by half
        if np.array_equal(joined, group):
            return group
        group = joined
