"""Building a store from a stream of pairs, in memory independent of the amount of text.

Blocks are hashed and spilled to disk by language. When all uids are known they are numbered in
alphabetical order; then each language is sorted by uid, in parts that fit in memory, and written.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.hashing import hash_texts
from hybrid_dist.data.reading import PAIRS, Reading
from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import ArrayWriter, TextColumn, TextWriter, save_array
from hybrid_dist.data.store.numbering import (
    Numbering,
    clusters,
    number_hashes,
    rows_of_uids,
    sorted_runs,
)
from hybrid_dist.data.store.sorting import Part, Sorted, sort_part
from hybrid_dist.data.store.spill import Spill
from hybrid_dist.data.threads import prefetch_map
from hybrid_dist.errors import UserError

PART = 128 << 20
"""Bytes of text sorted at once."""
PASSES = 8
"""The maximum number of times that rows are read, once per part; beyond it, rows are first spilled
again in groups of parts."""
HASHES = (
    pa.field("query_hash", pa.uint64()),
    pa.field("passage_hash", pa.uint64()),
    pa.field("negative_hashes", pa.list_(pa.uint64())),
)
"""Columns that are spilled beside those of the blocks."""
ARRAYS: dict[str, type[np.generic]] = {
    "row_uid": np.int32,
    "query_length": np.uint16,
    "passage_of": np.int32,
    "negative_counts": np.int32,
    "negatives": np.int32,
    "query_hash": np.uint64,
    "text_length": np.uint16,
}
"""Arrays written part by part: of rows, and the lengths of distinct passages."""
SCORES: dict[str, type[np.generic]] = {
    store_format.POSITIVE_SCORES: np.float32,
    store_format.NEGATIVE_SCORES: np.float32,
}
"""The same of pairs with scores."""


Read = Callable[[], Iterator[pa.RecordBatch]]


class NoPairsError(UserError):
    """A source without a single pair."""


def build_files(
    blocks: Iterable[pa.RecordBatch],
    reading: Reading,
    folder: Path,
    checksums: store_format.Checksums,
) -> dict[str, dict[str, int]]:
    """Write all files of a store but its manifest into an empty folder.

    Returns each language's number of pairs and of distinct passages.
    """
    given = iter(blocks)
    first = list(islice(given, 1))
    schema = first[0].schema if first else PAIRS
    aside = Spill(folder / "aside", pa.schema([*schema, *HASHES]))
    uid_hashes: defaultdict[str, list[np.ndarray]] = defaultdict(list)

    def put_aside(split: list[tuple[str, pa.RecordBatch, np.ndarray]]) -> None:
        for language, batch, uid_hash in split:
            aside.put(language, batch)
            uid_hashes[language].append(uid_hash)

    splits = (split for _, split in prefetch_map(_split, chain(first, given)))
    deque(prefetch_map(put_aside, splits, workers=1), maxlen=0)
    aside.finish()
    if not uid_hashes:
        raise NoPairsError("no pair in these files")
    languages = sorted(uid_hashes)
    uids, row_uids = _number_uids(aside, {name: uid_hashes.pop(name) for name in languages})
    with TextWriter(folder / store_format.UIDS) as out:
        out.append(uids)
    counts = _write_languages(aside, row_uids, uids, reading, folder)
    aside.remove()
    checksums.take(
        *(
            folder / name
            for name in (store_format.PASSAGES, store_format.QUERIES, store_format.UIDS)
        )
    )
    pa.default_memory_pool().release_unused()
    finish_index(folder, counts, len(uids))
    return counts


def _split(block: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch, np.ndarray]]:
    """Per language of a block: its name, rows with hashes of their texts, and hashes of uids."""
    coded = block.column("lang").dictionary_encode()
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    if np.any(codes[1:] < codes[:-1]):
        order = np.argsort(codes, kind="stable")
        block, codes = block.take(pa.array(order)), codes[order]
    negatives = block.column("negatives")
    starts = pc.subtract(negatives.offsets, negatives.offsets[0])
    negative_hashes = pa.ListArray.from_arrays(starts, pa.array(hash_texts(negatives.flatten())))
    text_hashes = [pa.array(hash_texts(block.column(name))) for name in ("query", "passage")]
    batch = pa.RecordBatch.from_arrays(
        [*block.columns, *text_hashes, negative_hashes], schema=pa.schema([*block.schema, *HASHES])
    )
    uid_hash = hash_texts(block.column("uid"))
    ends = np.searchsorted(codes, np.arange(len(names) + 1))
    return [
        (name, batch.slice(first, last - first), uid_hash[first:last].copy())
        for name, first, last in zip(names, ends[:-1], ends[1:], strict=True)
    ]


def _number_uids(
    aside: Spill, uid_hashes: dict[str, list[np.ndarray]]
) -> tuple[pa.Array, dict[str, np.ndarray]]:
    """The sorted distinct uids, and each row's uid number, by language in reading order."""
    sizes = {name: sum(map(len, parts)) for name, parts in uid_hashes.items()}
    first, number = number_hashes(
        np.concatenate([h for parts in uid_hashes.values() for h in parts])
    )
    by_row = np.argsort(first)
    texts = _uids_of_rows(aside, sizes, first[by_row])
    in_text_order = pc.sort_indices(texts)
    rank = np.empty(len(texts), np.int32)
    rank[by_row[in_text_order.to_numpy()]] = np.arange(len(texts))
    by_language = np.split(rank[number], np.cumsum(list(sizes.values()))[:-1])
    return texts.take(in_text_order), dict(zip(sizes, by_language, strict=True))


def _uids_of_rows(aside: Spill, sizes: Mapping[str, int], rows: np.ndarray) -> pa.Array:
    """The uids of some ascending rows, counted over all languages of these sizes."""
    starts = np.cumsum([0, *sizes.values()])
    of_languages = np.split(rows, np.searchsorted(rows, starts[1:-1]))

    def taken(number: int, language: str) -> pa.Array:
        wanted, first, parts = of_languages[number] - starts[number], 0, []
        for batch in aside.read(language, ["uid"]):
            low, high = np.searchsorted(wanted, [first, first + len(batch)])
            some = batch.column(0).take(pa.array(wanted[low:high] - first))
            parts.append(some.cast(pa.large_string()))
            first += len(batch)
        return pa.concat_arrays(parts)

    return pa.concat_arrays(
        [uids for _, uids in prefetch_map(lambda at: taken(*at), enumerate(sizes))]
    )


def _write_languages(
    aside: Spill,
    row_uids: Mapping[str, np.ndarray],
    uids: pa.Array,
    reading: Reading,
    folder: Path,
) -> dict[str, dict[str, int]]:
    """Write texts and rows, language by language; returns each one's pair and passage counts."""
    counts = {language: {"pairs": 0, "passages": 0} for language in row_uids}
    parts = _parts(aside, row_uids, folder)
    cure = "give different pairs different uids"
    if reading.links is not None:
        cure = f"{reading.links} links them: a uid has one pair in a language"
    with _Writers(
        folder, ARRAYS | (SCORES if "positive_score" in aside.schema.names else {})
    ) as out:
        for part, rows in prefetch_map(partial(sort_part, uids=uids), parts):
            for place, first, uid in rows.clashes:
                reading.refuse(
                    reading.where(place),
                    f"uid {uid!r} has other text in language {part.language!r} than at "
                    f"{reading.where(first)}; {cure}",
                )
            out.write(part.language, rows)
            part.spent()
            counts[part.language]["pairs"] += len(rows.queries)
            counts[part.language]["passages"] = out.passages_of_language
    return counts


def _parts(aside: Spill, row_uids: Mapping[str, np.ndarray], folder: Path) -> Iterator[Part]:
    """All rows by language and, for large languages, by range of uids."""
    for language, row_uid in row_uids.items():
        count = -(-aside.bytes[language] // PART)
        if count <= PASSES:
            yield from _picked(language, aside, language, row_uid, count)
            continue
        group_of_row = _ranges(row_uid, -(-count // PASSES))
        groups, first = Spill(folder / f"aside-{language}", aside.schema), 0
        for batch in aside.read(language):
            of_batch = group_of_row[first : first + len(batch)]
            for group in np.unique(of_batch).tolist():
                groups.put(group, batch.filter(pa.array(of_batch == group)))
            first += len(batch)
        groups.finish()
        aside.drop(language)
        for group in np.unique(group_of_row).tolist():
            yield from _picked(language, groups, group, row_uid[group_of_row == group], PASSES)


def _picked(
    language: str, spill: Spill, key: Hashable, row_uid: np.ndarray, count: int
) -> Iterator[Part]:
    """The rows of a key in `count` parts, each of which reads all rows of the key."""
    part_of_row = _ranges(row_uid, count)
    last = part_of_row.max()
    for part in range(last + 1):
        chosen = part_of_row == part
        if chosen.any():
            read = partial(_filtered, partial(spill.read, key), chosen)
            spent = partial(spill.drop, key) if part == last else lambda: None
            yield Part(language, read, row_uid[chosen], spent)


def _ranges(row_uid: np.ndarray, count: int) -> np.ndarray:
    """The range of uids that each row is in, of `count` ranges of about equally many rows."""
    bounds = np.sort(row_uid)[[len(row_uid) * n // count for n in range(1, count)]]
    return np.searchsorted(bounds, row_uid, side="right")


def _filtered(read: Read, chosen: np.ndarray) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in read():
        yield batch.filter(pa.array(chosen[first : first + len(batch)]))
        first += len(batch)


class _Writers:
    """The files that grow language by language."""

    def __init__(self, folder: Path, arrays: Mapping[str, type[np.generic]]) -> None:
        with ExitStack() as files:  # closes all of them, even if one cannot be opened or closed
            enter = files.enter_context
            self.queries = enter(TextWriter(folder / store_format.QUERIES))
            self.passages = enter(TextWriter(folder / store_format.PASSAGES, hashed=True))
            self._arrays = {
                name: enter(ArrayWriter(folder / f"{name}.npy", dtype))
                for name, dtype in arrays.items()
            }
            self._files = files.pop_all()
        self._language, self._first, self._numbering = "", 0, Numbering(0)

    @property
    def passages_of_language(self) -> int:
        """The number of distinct passages so far of the language written last."""
        return self.passages.num_rows - self._first

    def write(self, language: str, part: Sorted) -> None:
        if language != self._language:
            self._language, self._first = language, self.passages.num_rows
            self._numbering = Numbering(self._first)
        numbers, new = self._numbering(part.text_hash)
        texts = part.texts if new.all() else part.texts.filter(pa.array(new))
        self.queries.append(part.queries)
        self.passages.append(texts, part.text_hash[new])
        row_texts = numbers[part.row_texts]
        is_passage = np.zeros(len(row_texts), bool)
        is_passage[np.cumsum(part.counts + 1) - part.counts - 1] = True
        values = {
            "row_uid": part.row_uid,
            "query_length": part.query_length,
            "passage_of": row_texts[is_passage],
            "negative_counts": part.counts,
            "negatives": row_texts[~is_passage],
            "query_hash": part.query_hash,
            "text_length": part.text_length[new],
            store_format.POSITIVE_SCORES: part.positive_scores,
            store_format.NEGATIVE_SCORES: part.negative_scores,
        }
        for name, array in self._arrays.items():
            array.append(values[name])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)


def finish_index(folder: Path, counts: Mapping[str, Mapping[str, int]], uids: int) -> None:
    """Write the arrays that need all rows, and remove those that only they needed."""

    def array(name: str) -> np.ndarray:
        return np.load(folder / f"{name}.npy")

    def write(name: str, values: np.ndarray) -> None:
        save_array(folder / f"{name}.npy", values)

    sizes = [count["pairs"] for count in counts.values()]
    language_starts = np.concatenate([[0], np.cumsum(sizes)])
    row_uid, passage_of = array("row_uid"), array("passage_of")
    write("language_starts", language_starts)
    hashed = TextColumn(folder / store_format.PASSAGES).hashes()
    tasks: tuple[Callable[[], Any], ...] = (
        partial(clusters, row_uid, array("query_hash"), uids),
        partial(clusters, row_uid, hashed[passage_of], uids),
        partial(rows_of_uids, row_uid, language_starts.tolist(), uids),
    )
    results = [result for _, result in prefetch_map(lambda task: task(), tasks, workers=2)]
    uid_query_cluster, uid_passage_cluster, (uid_starts, uid_rows) = results
    write("uid_starts", uid_starts)
    write("uid_rows", uid_rows)
    write("uid_query_cluster", uid_query_cluster)
    write("uid_passage_cluster", uid_passage_cluster)
    write(
        "passage_cluster", _passage_clusters(hashed, passage_of, uid_passage_cluster[row_uid], uids)
    )
    write("negative_starts", np.concatenate([[0], np.cumsum(array("negative_counts"))]))
    for name in ("query_hash", "negative_counts"):
        (folder / f"{name}.npy").unlink()


def _passage_clusters(
    hashed: np.ndarray, passage_of: np.ndarray, row_cluster: np.ndarray, uids: int
) -> np.ndarray:
    """The cluster of each passage: that of its uids, or for mere negatives one per text."""
    cluster = np.arange(uids, uids + len(hashed), dtype=np.int32)
    answers = np.zeros(len(hashed), bool)
    answers[passage_of] = True
    cluster[passage_of] = row_cluster
    if not answers.all():  # a negative may be another language's passage
        order, starts = sorted_runs(hashed)
        least = np.minimum.reduceat(cluster[order], np.flatnonzero(starts))
        cluster[order] = least[np.cumsum(starts) - 1]
    return cluster
