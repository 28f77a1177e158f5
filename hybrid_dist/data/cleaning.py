"""Leaving out pairs: near duplicates, many pairs of one passage, and more than a sample.

What stays depends on the pairs and a seed alone: pairs are preferred by a hash of their uid, so
that translations stay or go together where the same holds in each language.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice, pairwise, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from hybrid_dist.data.hashing import hash_texts, mixed
from hybrid_dist.data.near_duplicates import Duplicate, near_duplicates
from hybrid_dist.data.reading import Reading, short
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.stored_pairs import stored_pairs

EXAMPLES = 5


@dataclass(frozen=True)
class Cleaning:
    """Which pairs of each language are left out; None: none for this reason."""

    near_duplicates: float | None = None
    """The similarity from which two pairs are near duplicates."""
    max_per_passage: int | None = None
    sample_per_language: int | None = None
    seed: int = 0

    @property
    def is_needed(self) -> bool:
        return any(value is not None for name, value in asdict(self).items() if name != "seed")

    def described(self) -> Mapping[str, Any]:
        """The settings that are given, and the seed."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NO_CLEANING = Cleaning()


def cleaned(
    pairs: Iterator[pa.RecordBatch], cleaning: Cleaning, reading: Reading, needed: int | None
) -> Iterator[pa.RecordBatch]:
    """The pairs that stay, by way of a temporary store; `needed`: the bytes that it takes."""
    store = Store.build(pairs, reading=reading, needed=needed)
    rows = _Choice(store, cleaning, reading).rows()
    yield from stored_pairs(store, rows, scores=True)


class _Choice:
    def __init__(self, store: Store, cleaning: Cleaning, reading: Reading) -> None:
        self.store, self.cleaning, self.reading = store, cleaning, reading
        self.left_out: dict[str, dict[str, int]] = {}
        """By reason: the number of pairs of each language."""
        self.duplicates: list[list[Duplicate]] = []
        """Of each language."""

    def rows(self) -> np.ndarray:
        """The rows that stay; the others are noted."""
        store = self.store
        hashes = [hash_texts(uids) for uids in store.columns["uids"].arrays()]
        seed = mixed(np.array([self.cleaning.seed], np.uint64))
        rank = mixed(np.concatenate(hashes) ^ seed)
        starts = store.index.language_starts.tolist()
        kept = [
            self._of_language(name, range(*ends), rank)
            for name, ends in zip(store.index.languages, pairwise(starts), strict=True)
        ]
        self._note()
        return np.concatenate(kept)

    def _of_language(self, language: str, rows: range, rank: np.ndarray) -> np.ndarray:
        index, cleaning = self.store.index, self.cleaning
        uids = index.row_uid[rows.start : rows.stop]
        order = np.argsort(rank[uids], kind="stable")
        if cleaning.near_duplicates is not None:
            found = near_duplicates(self.store, rows, order, cleaning.near_duplicates)
            self.duplicates.append(found)
            again = np.zeros(len(rows), bool)
            again[[one.row - rows.start for one in found]] = True
            reason = f"near duplicates at {cleaning.near_duplicates}"
            order = self._less(reason, language, order, order[~again[order]])
        if cleaning.max_per_passage is not None:
            most = cleaning.max_per_passage
            place = _occurrence(index.passage_of[rows.start + order])
            reason = f"more than {most:,} pairs of a passage"
            order = self._less(reason, language, order, order[place < most])
        if cleaning.sample_per_language is not None:
            most = cleaning.sample_per_language
            order = self._less(f"more than a sample of {most:,}", language, order, order[:most])
        return rows.start + np.sort(order)

    def _less(self, reason: str, language: str, before: np.ndarray, left: np.ndarray) -> np.ndarray:
        self.left_out.setdefault(reason, {})[language] = len(before) - len(left)
        return left

    def _note(self) -> None:
        for reason, counts in self.left_out.items():
            by_language = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
            among = f" ({by_language})" if by_language else ""
            self.reading.notes.append(f"{reason}: left out {sum(counts.values()):,} pairs{among}")
        by_turns = chain.from_iterable(zip_longest(*self.duplicates))
        for one in islice(filter(None, by_turns), EXAMPLES):
            pair = np.array([one.row, one.of])
            (uid, of), (query, other) = self.store.uids(pair), self.store.queries(pair)
            self.reading.notes.append(
                f"near duplicate: {short(uid)} of {short(of)}, similarity {one.similarity:.2f}: "
                f"{short(query)} and {short(other)}"
            )


def _occurrence(values: np.ndarray) -> np.ndarray:
    """How many times each value has come before."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(order)]
    count = np.empty(len(values), np.int64)
    count[order] = np.arange(len(order)) - np.maximum.accumulate(
        np.where(starts, np.arange(len(order)), 0)
    )
    return count
