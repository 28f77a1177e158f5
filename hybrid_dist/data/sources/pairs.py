"""Pair files: JSON lines or Parquet of `uid`, `lang`, `query` and `passage`."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from hybrid_dist.data.blocks import expand_globs
from hybrid_dist.data.pair_files import read_pair_files
from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.space import estimate_bytes


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """The queries and passages of pair files."""
    return collection_of_pairs(read_pair_files(paths, reading), paths, reading)


def collection_of_pairs(
    blocks: Iterable[pa.RecordBatch], paths: Sequence[str], reading: Reading
) -> Collection:
    """Every pair's query, and the distinct passages of each language.

    A passage has the id of the first uid with its text. All passages of a query's uid, in any
    language, are relevant.
    """
    store = Store.build(
        blocks,
        reading=reading,
        needed=estimate_bytes(paths),
        name=", ".join(paths),
    )
    table = store.table()
    uids, langs = table["uid"].to_pylist(), table["lang"].to_pylist()
    number: dict[tuple[str, str], int] = {}
    passages: list[Text] = []
    relevant_of: dict[str, set[int]] = {}
    for uid, lang, text in zip(uids, langs, table["passage"].to_pylist(), strict=True):
        if (lang, text) not in number:
            number[lang, text] = len(passages)
            passages.append(Text(uid, lang, text))
        relevant_of.setdefault(uid, set()).add(number[lang, text])
    relevant = [sorted(relevant_of[uid]) for uid in uids]
    starts = np.cumsum([0, *map(len, relevant)])
    return Collection(
        queries=list(map(Text, uids, langs, table["query"].to_pylist())),
        passages=passages,
        relevant_starts=starts,
        relevant=np.array([passage for some in relevant for passage in some], dtype=np.int64),
        grades=np.ones(starts[-1], dtype=np.int64),
    )


def locate(pattern: str) -> object:
    """The files that a path or a glob names."""
    return expand_globs([pattern])


SOURCE = Source(
    "pairs",
    "JSON lines (plain, .gz, .zst) or Parquet of uid, lang, query, passage",
    "uid, lang, query, passage, negatives[]",
    pairs=read_pair_files,
    collection=collection,
    locate=locate,
    has_globs=True,
    evaluates_on_pairs=True,
)
