"""A store: pairs sorted so that languages and uids are slices, with their texts and index."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from hybrid_dist.config.sources import Source
from hybrid_dist.data import user_cache
from hybrid_dist.data.blocks import expand_globs
from hybrid_dist.data.pair_files import read_pair_files
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.store import bounds, space, verification
from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.builder import NoPairsError, build_files
from hybrid_dist.data.store.columns import TextColumn, load_mapped, read_through
from hybrid_dist.data.store.index import UNCUT, Index, Ints, TrainingSource
from hybrid_dist.data.store.staging import open_staged
from hybrid_dist.data.store.teacher_vectors import TeacherVectors
from hybrid_dist.data.store.token_cache import TokenCache
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import OTHER_TMPDIR, writing

if TYPE_CHECKING:
    from hybrid_dist.data.pair_dataset import PairDataset

Check = Literal["once", "now", "never"]
CHARACTERS_PER_TOKEN = 4
"""A rough figure: which of two long texts is longer when both are cut matters little."""
OTHER_CACHE = "make room there, or set data.cache_dir to a folder on another disk"
"""Advice for when a cached store does not fit on the disk."""
Pairs = str | Path | Iterable[pa.RecordBatch]


def _no_annotations(folder: Path) -> Mapping[str, Any]:
    return {}


class Store:
    """Texts by number and their index, memory-mapped from a folder."""

    def __init__(self, folder: Path, check: Check = "once") -> None:
        """Open a store's folder.

        `check`: verify the files unless this machine already has, in any case, or never.
        """
        self.manifest = store_format.read_manifest(folder)
        self.folder = folder
        self.cached: Literal["", "built", "reused"] = ""
        """Whether this process built a cached store or reused it. Empty for other stores."""
        if check == "never":
            self._map()
            return
        with verification.verify_once(folder, self.manifest, again=check == "now") as is_first:
            try:
                self._map()
                if is_first:
                    bounds.check(
                        self.index,
                        self.columns,
                        self.tokens,
                        self.scores,
                        self.teacher,
                        self.manifest,
                    )
            except (ValueError, KeyError, TypeError, IndexError, OSError, pa.ArrowException) as bad:
                raise UserError(f"{folder}: is damaged: {bad}; {store_format.REMEDY}") from None

    def read_ahead(self) -> None:
        """Read the index from start to end. A plan reads numbers here and there, and where the
        files are not in the machine's memory yet, each of them would be a request to the disk."""
        if self.folder.is_dir():  # a temporary one was just written, and is gone
            for file in self._index_files().values():
                read_through(file)

    def _index_files(self) -> dict[str, Path]:
        names = store_format.array_names(self.manifest)
        arrays = (field.name for field in fields(Index) if field.name != "languages")
        return {name: self.folder / f"{names.get(name, name)}.npy" for name in arrays}

    def _map(self) -> None:
        arrays = {name: load_mapped(file) for name, file in self._index_files().items()}
        self.index = Index(languages=tuple(self.manifest["languages"]), **arrays)
        self.query_column = TextColumn(self.folder / store_format.QUERIES)
        self.passage_column = TextColumn(self.folder / store_format.PASSAGES)
        self._uids = TextColumn(self.folder / store_format.UIDS)
        description = self.manifest.get("tokens")
        self.tokens = TokenCache(self.folder, description) if description else None
        self.scores = {
            name: load_mapped(self.folder / f"{name}.npy")
            for name in (store_format.NEGATIVE_SCORES, store_format.POSITIVE_SCORES)
            if f"{name}.npy" in self.manifest["files"]
        }
        """Scores that were mined or came with the data: `negative_scores`, of each number in
        `Index.negatives`, and `positive_scores`, of each row's own passage."""
        description = self.manifest.get("teacher")
        self.teacher = TeacherVectors(self.folder, description) if description else None

    @property
    def columns(self) -> dict[str, TextColumn]:
        """All columns of texts by name."""
        return {
            "queries": self.query_column,
            "passages": self.passage_column,
            "uids": self._uids,
        }

    @classmethod
    def open(cls, path: str | Path, cache_dir: Path | None = None, stage: str = "") -> "Store":
        """The store in a folder, or the store of pair files named by a path or a glob.

        `cache_dir`: where stores of pair files are kept for the next start. None: they are built
        anew in a temporary folder. `stage`: a folder on this machine's own disk that stores which
        are folders are copied to; see `open_staged`.
        """
        if any(store_format.is_store(Path(path), kind) for kind in store_format.KINDS):
            return open_staged(Path(path), stage, cls)
        if cache_dir is None:
            return cls.build(path)
        store = cls._open_cached(str(path), cache_dir)
        if stage:
            copy = open_staged(store.folder, stage, cls)
            copy.cached = store.cached
            return copy
        return store

    @classmethod
    def _open_cached(cls, pattern: str, cache_dir: Path) -> "Store":
        """The cached store of pair files; the first process that needs it builds it."""
        files = expand_globs([pattern])
        key = user_cache.key_of_files(files)

        def build(folder: Path) -> Store:
            names = {"source": "pairs", "paths": list(map(str, files))}
            store = cls.build(
                pattern, folder, annotate=lambda _: names, durable=False, replace=False
            )
            if user_cache.key_of_files(files) != key:
                shutil.rmtree(folder)
                raise UserError(f"{pattern}: changed while it was read; start again")
            return store

        with writing(cache_dir, needed=space.estimate_bytes([pattern]), cure=OTHER_CACHE):
            store, was_built = user_cache.open_or_build(cache_dir / key, cls, build)
        store.cached = "built" if was_built else "reused"
        return store

    @classmethod
    def build(
        cls,
        pairs: Pairs,
        out: Path | None = None,
        *,
        reading: Reading | None = None,
        name: str = "",
        needed: int | None = None,
        annotate: Callable[[Path], Mapping[str, Any]] = _no_annotations,
        durable: bool = True,
        replace: bool = True,
    ) -> "Store":
        """Write pairs as a store and open it.

        `pairs`: pair files by a path or a glob, or blocks of the schema `reading.PAIRS`.
        `out`: the store's folder, complete or not there at all. None: a temporary folder, removed
        once its files are mapped.
        `name`: what messages call the pairs. `needed`: the bytes that this takes, if estimated.
        `annotate`: adds files to the folder and returns more entries of the manifest.
        `durable`: wait until the disk has the files. `replace`: whether an existing store may be
        replaced; if not, an OSError is raised.
        """
        reading = Reading() if reading is None else reading
        if isinstance(pairs, str | Path):
            name = name or str(pairs)
            needed = space.estimate_bytes([str(pairs)]) if needed is None else needed
            pairs = read_pair_files([str(pairs)], reading)
        with ExitStack() as stack:
            if out is None:
                folder = stack.enter_context(_temporary_folder(needed))
            else:
                folder = stack.enter_context(store_format.replaced(out, needed, replace))
            with store_format.Checksums(durable and out is not None) as checksums:
                try:
                    counts = build_files(pairs, reading, folder, checksums)
                except NoPairsError as error:
                    raise NoPairsError(f"{name}: {error}" if name else str(error)) from None
                entries = {"languages": counts, **annotate(folder)}
                store_format.write_manifest(folder, entries, checksums)
            if out is None:
                return cls(folder, check="never")
        return cls(out, check="never")

    @property
    def fingerprint(self) -> str:
        """A hash of the content: equal stores have equal fingerprints."""
        return str(self.manifest["fingerprint"])

    def queries(self, rows: Ints) -> list[str]:
        return self.query_column.take(rows)

    def passages(self, rows: Ints) -> list[str]:
        return self.passage_column.take(self.index.passage_of[rows])

    def source(self, name: str, max_tokens: tuple[int, int] = UNCUT) -> TrainingSource:
        """These pairs as a plan sees them, with queries and passages cut to so many tokens."""
        unit = 1 if self.tokens else CHARACTERS_PER_TOKEN
        query, passage = max_tokens
        return TrainingSource(name, self.index, (unit * query, unit * passage))

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
        """All pairs as a table in memory, sorted by language and uid."""
        rows, index = np.arange(self.index.num_rows), self.index
        languages = pa.array(index.languages, pa.string())
        columns = {
            "uid": pa.array(self.uids(rows), pa.string()),
            "lang": languages.take(pa.array(index.row_language)),
            "query": pa.array(self.queries(rows), pa.string()),
            "passage": pa.array(self.passages(rows), pa.string()),
        }
        return pa.table(columns)


def open_sources(
    entries: Sequence[str | Source],
    max_tokens: tuple[int, int] = UNCUT,
    cache_dir: Path | None = None,
    stage: str = "",
) -> tuple[list[Store], list[TrainingSource]]:
    """The stores of a run, and what its plan knows of each.

    Every store and every pattern of pair files is a source of its own, so files that share uids
    must be named by one glob. `max_tokens`: the lengths that queries and passages are cut to.
    `cache_dir`, `stage`: see `Store.open`.
    """
    stores, sources = [], []
    some_weight = any(isinstance(entry, Source) and entry.weight is not None for entry in entries)
    for entry in entries:
        given = entry if isinstance(entry, Source) else Source(path=entry)
        store = Store.open(given.path, cache_dir, stage)
        store.read_ahead()
        stores.append(store)
        source = replace(
            store.source(given.path, max_tokens),
            weight=1.0 if some_weight and given.weight is None else given.weight,
            mix=given.mix,
            query_prefix=given.query_prefix,
            passage_prefix=given.passage_prefix,
        )
        sources.append(source)
    return stores, sources


def check_sources(patterns: Sequence[str]) -> None:
    """Refuse paths that name neither a store nor files, before anything is read."""
    others = [pattern for pattern in patterns if not store_format.is_store(Path(pattern))]
    for pattern in others:
        if store_format.is_store(Path(pattern), store_format.COLLECTION):
            store_format.read_manifest(Path(pattern))  # says what it is
    expand_globs(others)


@contextmanager
def _temporary_folder(needed: int | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hybrid_dist-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with writing(folder.parent, folder, needed, OTHER_TMPDIR):
            yield folder
