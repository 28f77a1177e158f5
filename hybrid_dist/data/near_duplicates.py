"""Near duplicates: pairs of one language whose queries and whose passages are nearly the same.

Two texts are compared by the Jaccard similarity of their sets of character n-grams, after case
folding. MinHash finds the candidates: a band of it is a hash of a few minima of the query and of
the passage, and pairs with an equal band are compared exactly. Bands are kept in files, and one is
read at a time.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_dist.data.hashing import mixed
from hybrid_dist.data.languages import primary_subtag
from hybrid_dist.data.ngrams import DENSE_LANGUAGES, code_points, normalized_text, rolling_hashes
from hybrid_dist.data.store.reader import Store
from hybrid_dist.runtime.files import OTHER_TMPDIR, writing

SIZE, DENSE_SIZE = 4, 2
"""Characters of an n-gram, and of one in languages that say more in a character."""
MINIMA = 128
"""Minima of a text, of which each band has some."""
MOST_ROWS, MOST_BANDS = 4, 64
MISSED = 0.001
"""The chance that no band of two pairs at the threshold is equal, if bands had minima of their own.
They share some, so it is up to 0.0035."""
BLOCK = 4096
FACTORS = mixed(np.arange(1, MINIMA + 1, dtype=np.uint64)) | np.uint64(1)


class Duplicate(NamedTuple):
    """A row that is left out, and the one that it is nearly the same as."""

    row: int
    of: int
    similarity: float


def near_duplicates(
    store: Store, rows: range, order: np.ndarray, threshold: float
) -> list[Duplicate]:
    """Those of a language's rows that nearly repeat an earlier one that stays.

    `order`: the positions of the rows, first those that rather stay.
    """
    with tempfile.TemporaryDirectory(prefix="hybrid_dist-", ignore_cleanup_errors=True) as made:
        with writing(Path(made).parent, Path(made), cure=OTHER_TMPDIR):
            files = _write_bands(store, rows, order, threshold, Path(made))
        candidates = np.zeros(0, np.int64)
        for file in files:
            candidates = np.union1d(candidates, _candidates(np.fromfile(file, np.uint64)))
    return _verified(store, rows.start + order, candidates, threshold)


def band_shape(threshold: float) -> tuple[int, int]:
    """How many bands there are, and how many minima of either text each has."""
    for minima in range(MOST_ROWS, 0, -1):
        equal = min(threshold ** (2 * minima), 1 - MISSED)
        bands = math.ceil(math.log(MISSED) / math.log(1 - equal))
        if bands <= MOST_BANDS:
            break
    return bands, minima


def band_minima(threshold: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """The minima of the query and of the passage that each band has."""
    bands, minima = band_shape(threshold)
    random = np.random.RandomState(1)  # its stream never changes
    drawn = [[random.permutation(MINIMA)[:minima] for _ in "qp"] for _ in range(bands)]
    return [(of_query, of_passage) for of_query, of_passage in drawn]


def _write_bands(
    store: Store, rows: range, order: np.ndarray, threshold: float, folder: Path
) -> list[Path]:
    """The bands of all rows in this order, a file of hashes for each."""
    chosen = band_minima(threshold)
    size = _ngram_size(store, rows)
    files = [folder / str(band) for band in range(len(chosen))]
    with ExitStack() as opened:
        outs = [opened.enter_context(file.open("wb")) for file in files]
        for start in range(0, len(order), BLOCK):
            some = rows.start + order[start : start + BLOCK]
            queries = minhashes(store.queries(some), size)
            passages, at = np.unique(store.index.passage_of[some], return_inverse=True)
            texts = minhashes(store.passage_texts(passages), size)[at]
            for out, (of_query, of_passage) in zip(outs, chosen, strict=True):
                hashes = np.full(len(some), 1, np.uint64)
                for column in (*queries[:, of_query].T, *texts[:, of_passage].T):
                    hashes = mixed(hashes ^ column)
                out.write(hashes.data)
    return files


def _ngram_size(store: Store, rows: range) -> int:
    language = store.index.languages[int(store.index.language_of(np.array([rows.start]))[0])]
    return DENSE_SIZE if primary_subtag(language) in DENSE_LANGUAGES else SIZE


def minhashes(texts: Sequence[str], size: int) -> np.ndarray:
    """MINIMA numbers of each text: as large a share of two texts' is equal as of their n-grams."""
    padded = [normalized_text(text).ljust(size, "\0") for text in texts]
    lengths = np.array([len(text) for text in padded])
    ends = np.cumsum(lengths)
    hashes = rolling_hashes(code_points(padded), size)
    within = np.ones(len(hashes), bool)
    for back in range(1, size):
        within[ends[:-1] - back] = False  # an n-gram of two texts
    hashes = hashes[within]
    starts = np.concatenate([[0], np.cumsum(lengths - size + 1)[:-1]])
    result = np.empty((len(texts), MINIMA), np.uint64)
    with np.errstate(over="ignore"):
        for number, factor in enumerate(FACTORS):
            values = ((hashes * factor) >> np.uint64(32)).astype(np.uint32)
            result[:, number] = np.minimum.reduceat(values, starts)
    return result


def _candidates(band: np.ndarray) -> np.ndarray:
    """`later * count + first` for each position whose hash an earlier one has first."""
    order = np.argsort(band, kind="stable")
    ordered = band[order]
    is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
    later = ~is_first
    return order[later] * len(band) + first[later]


def _verified(
    store: Store, rows: np.ndarray, candidates: np.ndarray, threshold: float
) -> list[Duplicate]:
    """The candidates that are near duplicates of a row that stays, in order."""
    size = _ngram_size(store, range(int(rows[0]), int(rows[0]) + 1))
    found: dict[int, Duplicate] = {}
    for start in range(0, len(candidates), BLOCK):
        later, first = np.divmod(candidates[start : start + BLOCK], len(rows))
        texts = _Grams(store, rows[np.unique(np.concatenate([later, first]))], size)
        for one, other in zip(later.tolist(), first.tolist(), strict=True):
            if one in found or other in found:
                continue
            row, of = int(rows[one]), int(rows[other])
            similarity = texts.similarity(row, of, threshold)
            if similarity >= threshold:
                found[one] = Duplicate(row, of, similarity)
    return list(found.values())


class _Grams:
    """Sets of n-grams of some rows' texts."""

    def __init__(self, store: Store, rows: np.ndarray, size: int) -> None:
        texts = zip(store.queries(rows), store.passages(rows), strict=True)
        self._texts = dict(zip(rows.tolist(), texts, strict=True))
        self._size = size

    def similarity(self, one: int, other: int, threshold: float) -> float:
        """The smaller similarity of queries and passages; of queries if that is below already."""
        least = 1.0
        for text, against in zip(self._texts[one], self._texts[other], strict=True):
            if text != against:
                least = min(least, jaccard(text, against, self._size))
            if least < threshold:
                break
        return least


def jaccard(one: str, other: str, size: int) -> float:
    """The share of n-grams of two texts that both have."""
    first, second = (set(_ngrams(normalized_text(text), size)) for text in (one, other))
    return len(first & second) / len(first | second)


def _ngrams(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(max(1, len(text) - size + 1)))
