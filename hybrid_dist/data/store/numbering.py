"""Numbering of uids and distinct passages, and clusters of uids that share texts."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from hybrid_dist.data.threads import prefetch_map

BEGINNING = 26
"""Bits of hashes that are looked up in a table before the hashes are searched for."""
RUNS = 8
"""The most sorted runs of hashes that are searched before they are merged."""


def sorted_runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order that sorts the values, and a mask of where each new value starts in it."""
    order = np.argsort(values)
    ordered = values[order]
    return order, np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(order)]


def first_occurrences(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first position of each distinct value, and for each value the index of its own there."""
    number = pa.array(values).dictionary_encode().indices.to_numpy()
    return np.flatnonzero(np.diff(np.maximum.accumulate(number), prepend=-1)), number


def number_hashes(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `first_occurrences`, in parallel for many hashes; the distinct values are in no order."""
    beginning = (hashes >> np.uint64(60)).astype(np.uint8)

    def of_part(part: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.flatnonzero(beginning == part)
        place, number = first_occurrences(hashes[at])
        return at, at[place], number

    places, numbers, count = list[np.ndarray](), np.empty(len(hashes), np.int32), 0
    for _, (at, place, number) in prefetch_map(of_part, range(16)):
        places.append(place)
        numbers[at] = number + count
        count += len(place)
    return np.concatenate(places), numbers


class Numbering:
    """Numbers hashes in order of first occurrence, batch by batch; most of a batch are new."""

    def __init__(self, first: int) -> None:
        self.next = first
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []
        """Hashes in ascending order, none in two runs, and their numbers."""
        self._begins: np.ndarray | None = None
        """Whether any hash begins with these bits, from the second batch on."""

    def __call__(self, distinct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of each of some distinct hashes, and whether it is new."""
        new = np.ones(len(distinct), bool)
        numbers = np.empty(len(distinct), np.int32)
        for row, number in self._known(distinct):
            new[row], numbers[row] = False, number
        count = int(np.count_nonzero(new))
        numbers[new] = np.arange(self.next, self.next + count)
        self.next += count
        self._add(distinct[new], numbers[new])
        return numbers, new

    def _known(self, distinct: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of hashes that have numbers, and these, run by run."""
        if not self._runs:
            return
        if self._begins is None:
            self._begins = np.zeros(1 << BEGINNING, bool)
            for hashes, _ in self._runs:
                self._begins[_beginning(hashes)] = True
        rows = np.flatnonzero(self._begins[_beginning(distinct)])
        for hashes, numbers in self._runs:
            wanted = distinct[rows]
            at = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
            found = hashes[at] == wanted
            yield rows[found], numbers[at[found]]
            rows = rows[~found]

    def _add(self, hashes: np.ndarray, numbers: np.ndarray) -> None:
        if not len(hashes):
            return
        if self._begins is not None:
            self._begins[_beginning(hashes)] = True
        self._runs.append((hashes, numbers))
        if len(self._runs) > RUNS:
            hashes, numbers = map(np.concatenate, zip(*self._runs, strict=True))
            self._runs = [(hashes, numbers)]
        order = np.argsort(hashes)
        self._runs[-1] = hashes[order], numbers[order]


def _beginning(hashes: np.ndarray) -> np.ndarray:
    return hashes >> np.uint64(64 - BEGINNING)


def rows_of_uids(
    row_uid: np.ndarray, language_starts: Sequence[int], uids: int
) -> tuple[np.ndarray, np.ndarray]:
    """`uid_starts` and `uid_rows` of `data.store.reader.Index`."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(row_uid, minlength=uids))])
    free = starts[:-1].copy()
    rows = np.empty(len(row_uid), np.int32)
    for first, last in pairwise(language_starts):
        mine = row_uid[first:last]  # none twice
        rows[free[mine]] = np.arange(first, last, dtype=np.int32)
        free[mine] += 1
    return starts, rows


def clusters(row_uid: np.ndarray, hashes: np.ndarray, uids: int) -> np.ndarray:
    """The cluster of each uid, named by its smallest uid: connected components of shared texts."""
    rows = _perhaps_shared(hashes)
    order, starts = sorted_runs(hashes[rows])
    uid = row_uid[rows[order]]
    head = uid[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    return components(head, uid, uids)


def _perhaps_shared(hashes: np.ndarray) -> np.ndarray:
    """A superset of the rows whose hash is repeated: most texts are unique."""
    ordered = np.sort((hashes >> np.uint64(32)).astype(np.uint32))
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    del ordered
    beginnings = np.zeros(1 << 24, bool)
    beginnings[again >> np.uint32(8)] = True
    return np.flatnonzero(beginnings[hashes >> np.uint64(40)])


def components(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """The smallest node in the connected component of each of `count` nodes."""
    root = np.arange(count, dtype=np.int32)
    while True:
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        apart = low != high
        if not apart.any():
            return root
        one, other = one[apart], other[apart]
        np.minimum.at(root, high[apart], low[apart])
        while not np.array_equal(root, further := root[root]):
            root = further
