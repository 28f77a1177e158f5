"""A store: pairs sorted so that a language and a uid are slices, and numbers about them."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from hybrid_dist.data.blocks import expand
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.pairs import pairs
from hybrid_dist.data.store import bounds, space, verification
from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.builder import NoPairsError, build
from hybrid_dist.data.store.columns import TextColumn, mapped
from hybrid_dist.data.store.tokens import TokenCache
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import OTHER_TMPDIR, writing

if TYPE_CHECKING:
    from hybrid_dist.data.pair_dataset import PairDataset

Ints = np.ndarray
Check = Literal["once", "now", "never"]
UNCUT = (1 << 16, 1 << 16)
"""More than any length that is kept."""
CHARACTERS_OF_A_TOKEN = 4
"""About so many: which of two long texts is longer when both are cut matters little."""


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
    uid_passage_cluster: Ints
    """Of each uid: equal for uids that share a passage in any language."""
    uid_query_cluster: Ints
    """Of each uid: equal for uids that share a query in any language."""
    query_length: Ints
    """Of each row: its query's length in characters, or in tokens where the store holds them;
    65,535 at most."""
    text_length: Ints
    """Of each passage: its length, likewise."""
    passage_of: Ints
    """Of each row: its passage's number. Equal texts of a language are one passage."""
    negative_starts: Ints
    """Row r has the hard negatives `negatives[negative_starts[r] : negative_starts[r + 1]]`."""
    negatives: Ints
    """Numbers of passages."""
    passage_cluster: Ints
    """Of each passage: the `uid_passage_cluster` of the uids that it answers; of a passage that
    answers none, a number that no other text has."""

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
    longest: tuple[int, int] = UNCUT
    """The lengths that a query and a passage are cut to at most, in the index's measure."""


class Store:
    """Texts by number and their index, mapped from a folder."""

    def __init__(self, folder: Path, check: Check = "once") -> None:
        """`check`: whether the files are verified once on this machine, now in any case, or not."""
        self.manifest = store_format.read_manifest(folder)
        self.folder = folder
        if check == "never":
            self._map()
            return
        with verification.verify_once(folder, self.manifest, again=check == "now") as is_first:
            try:
                self._map()
                if is_first:
                    bounds.check(self)
            except (ValueError, KeyError, TypeError, IndexError, OSError, pa.ArrowException) as bad:
                raise UserError(f"{folder}: is damaged: {bad}; {store_format.REMEDY}") from None

    def _map(self) -> None:
        named_then = store_format.array_names(self.manifest)
        arrays = {
            field.name: mapped(self.folder / f"{named_then.get(field.name, field.name)}.npy")
            for field in fields(Index)
            if field.name != "languages"
        }
        self.index = Index(languages=tuple(self.manifest["languages"]), **arrays)
        self.query_column = TextColumn(self.folder / store_format.QUERIES)
        self.passage_column = TextColumn(self.folder / store_format.PASSAGES)
        self._uids = TextColumn(self.folder / store_format.UIDS)
        told = self.manifest.get("tokens")
        self.tokens = TokenCache(self.folder, told) if told else None

    @property
    def columns(self) -> dict[str, TextColumn]:
        """All texts, by what they are."""
        return {
            "queries": self.query_column,
            "passages": self.passage_column,
            "uids": self._uids,
        }

    @classmethod
    def open(cls, patterns: str | Path | Sequence[str]) -> "Store":
        """A store's folder, or the store of pair files: see `data.sources.pairs` for their form."""
        patterns = [str(patterns)] if isinstance(patterns, str | Path) else patterns
        if len(patterns) == 1 and store_format.is_store(Path(patterns[0])):
            return cls(Path(patterns[0]))
        reading = Reading()
        try:
            return cls.of(pairs(patterns, reading), reading, space.estimated(patterns))
        except NoPairsError as error:
            raise UserError(f"{', '.join(patterns)}: {error}") from None

    @classmethod
    def of(
        cls, blocks: Iterable[pa.RecordBatch], reading: Reading, needed: int | None = None
    ) -> "Store":
        """The store of pairs that are not on disk as one: it is, for a moment, made as it would be
        by `hybrid-dist prepare`. What is mapped stays when its folder goes.

        `needed`: about how many bytes that takes.
        """
        with tempfile.TemporaryDirectory(prefix="hybrid_dist-", ignore_cleanup_errors=True) as made:
            folder = Path(made)
            with writing(folder.parent, folder, needed, OTHER_TMPDIR):
                with store_format.Checksums(durable=False) as checksums:
                    counts = build(blocks, reading, folder, checksums)
                    store_format.write_manifest(folder, {"languages": counts}, checksums)
                return cls(folder, check="never")

    @property
    def fingerprint(self) -> str:
        """Equal for equal content."""
        return str(self.manifest["fingerprint"])

    def queries(self, rows: Ints) -> list[str]:
        return self.query_column.take(rows)

    def passages(self, rows: Ints) -> list[str]:
        return self.passage_column.take(self.index.passage_of[rows])

    def passage_texts(self, passages: Ints) -> list[str]:
        """Texts of passages by their numbers, such as those in `Index.negatives`."""
        return self.passage_column.take(passages)

    def uids(self, rows: Ints) -> list[str]:
        return self._uids.take(self.index.row_uid[rows])

    def as_dataset(self, hard_negatives: int = 0, ids: bool = False) -> "PairDataset":
        """A torch dataset whose integers index a query row and a passage row."""
        from hybrid_dist.data.pair_dataset import PairDataset  # imports torch: on use

        return PairDataset(self, hard_negatives, ids)

    def table(self) -> pa.Table:
        """All pairs in memory."""
        rows, index = np.arange(self.index.rows), self.index
        languages = pa.array(index.languages, pa.string())
        columns = {
            "uid": pa.array(self.uids(rows), pa.string()),
            "lang": languages.take(pa.array(index.row_language)),
            "query": pa.array(self.queries(rows), pa.string()),
            "passage": pa.array(self.passages(rows), pa.string()),
        }
        return pa.table(columns)


def open_sources(
    patterns: Sequence[str], max_tokens: tuple[int, int] = UNCUT
) -> tuple[list[Store], list[Source]]:
    """Every store, and every pattern of pair files, is a source of its own: files that share uids
    are named by one glob. Queries and passages are cut to so many tokens."""
    stores, sources = [], []
    for pattern in patterns:
        store = Store.open([pattern])
        unit = 1 if store.tokens else CHARACTERS_OF_A_TOKEN
        query, passage = max_tokens
        stores.append(store)
        sources.append(Source(pattern, store.index, (unit * query, unit * passage)))
    return stores, sources


def check_sources(patterns: Sequence[str]) -> None:
    """Refuse paths that name neither a store nor files, before anything is read."""
    expand([pattern for pattern in patterns if not store_format.is_store(Path(pattern))])


def read_pairs(patterns: Sequence[str]) -> pa.Table:
    """All pairs of the files, sorted by language and uid; a pair given twice is kept once."""
    return Store.open(patterns).table()
