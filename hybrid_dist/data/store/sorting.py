"""Sorting a part of a language by uid, with its distinct passages."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.store.numbering import first_occurrences
from hybrid_dist.errors import UserError


class Part(NamedTuple):
    """The rows of a range of a language's uids, in reading order."""

    language: str
    read: Callable[[], Iterator[pa.RecordBatch]]
    row_uid: np.ndarray
    spent: Callable[[], None]
    """Must be called when all parts up to this one are sorted; frees what is not read again."""


class Sorted(NamedTuple):
    """A part's rows, sorted by uid, and their distinct texts in order of first occurrence."""

    row_uid: np.ndarray
    queries: pa.Array
    query_hash: np.ndarray
    query_length: np.ndarray
    texts: pa.Array
    """Distinct passages and negatives."""
    text_hash: np.ndarray
    text_length: np.ndarray
    row_texts: np.ndarray
    """Positions in `texts` of each row's passage and then its negatives, concatenated."""
    counts: np.ndarray
    """The number of negatives of each row."""
    positive_scores: np.ndarray
    """Of each row; empty if the pairs have no scores."""
    negative_scores: np.ndarray
    """Of the rows' negatives, concatenated."""
    clashes: list[tuple[int, int, str]]
    """Skipped rows that repeat a uid with other text: place, place of the first row, uid."""


def sort_part(part: Part, uids: pa.Array) -> Sorted:
    rows = pa.Table.from_batches(part.read()).combine_chunks()
    _check_equal(rows["uid"], uids.take(pa.array(part.row_uid)), "uids")
    order = np.argsort(part.row_uid, kind="stable")
    row_uid = part.row_uid[order]
    again = np.flatnonzero(row_uid[1:] == row_uid[:-1]) + 1
    clashes = _clashes(rows, row_uid, order, again) if len(again) else []
    order, row_uid = np.delete(order, again), np.delete(row_uid, again)
    queries = rows["query"].take(pa.array(order)).combine_chunks()
    texts, text_hash, row_texts, counts = _distinct_texts(rows, order)
    positive_scores, negative_scores = _scores(rows, order)
    return Sorted(
        row_uid=row_uid,
        queries=queries,
        query_hash=rows["query_hash"].to_numpy()[order],
        query_length=lengths(queries),
        texts=texts,
        text_hash=text_hash,
        text_length=lengths(texts),
        row_texts=row_texts,
        counts=counts,
        positive_scores=positive_scores,
        negative_scores=negative_scores,
        clashes=clashes,
    )


def _distinct_texts(
    rows: pa.Table, order: np.ndarray
) -> tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray]:
    """`texts`, `text_hash`, `row_texts` and `counts` of `Sorted`."""
    texts = rows["passage"].combine_chunks().cast(pa.large_string())
    text_hash, at = rows["passage_hash"].to_numpy(), order
    negatives = rows["negatives"].combine_chunks()
    counts = pc.list_value_length(negatives).to_numpy()
    if counts.any():
        listed = rows["negative_hashes"].combine_chunks()
        texts = pa.concat_arrays([texts, negatives.flatten().cast(pa.large_string())])
        text_hash = np.concatenate([text_hash, listed.flatten().to_numpy()])
        at = _interleaved(order, counts)
    text_hash = text_hash[at]
    place, number = first_occurrences(text_hash)
    distinct = texts.take(pa.array(at[place]))
    again = np.flatnonzero(place[number] != np.arange(len(number)))
    repeated = texts.take(pa.array(at[again]))
    _check_equal(repeated, distinct.take(pa.array(number[again])), "texts")
    return distinct, text_hash[place], number, counts[order]


def _scores(rows: pa.Table, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`positive_scores` and `negative_scores` of `Sorted`."""
    if "positive_score" not in rows.column_names:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    listed = rows["negative_scores"].take(pa.array(order)).combine_chunks()
    return rows["positive_score"].to_numpy()[order], listed.flatten().to_numpy()


def _clashes(
    rows: pa.Table, row_uid: np.ndarray, order: np.ndarray, again: np.ndarray
) -> list[tuple[int, int, str]]:
    """Rows that repeat a uid with text that differs from its first row's."""
    first = np.searchsorted(row_uid, row_uid[again])
    pair = rows.select(["query", "passage", "negatives", "place", "uid"])
    repeated, before = (pair.take(pa.array(order[at])).to_pylist() for at in (again, first))
    fields = ("query", "passage", "negatives")
    return sorted(
        (late["place"], early["place"], late["uid"])
        for late, early in zip(repeated, before, strict=True)
        if any(late[name] != early[name] for name in fields)
    )


def _interleaved(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each row's passage and then its negatives, as positions in passages followed by negatives.

    This order of texts does not depend on how a language is divided into parts.
    """
    starts = len(counts) + np.concatenate([[0], np.cumsum(counts)])[:-1]
    lengths = counts[order] + 1
    ends = np.cumsum(lengths)
    row_starts = ends - lengths
    at = np.repeat(starts[order] - row_starts - 1, lengths) + np.arange(ends[-1])
    at[row_starts] = order
    return at


def _check_equal(one: Any, other: Any, what: str) -> None:
    equal = pc.equal(one.cast(pa.large_string()), other)
    if not pc.all(equal, min_count=0).as_py():
        raise UserError(f"two different {what} have one 64-bit hash; change a letter of one")


def lengths(texts: Any) -> np.ndarray:
    """The length of each text in characters, 65,535 at most."""
    return np.minimum(pc.utf8_length(texts).to_numpy(), 65535).astype(np.uint16)
