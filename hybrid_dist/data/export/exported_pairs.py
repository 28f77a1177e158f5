"""The pairs of a store, block by block, with their negatives and scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hybrid_dist.data.languages import canonical
from hybrid_dist.data.store.format import NEGATIVE_SCORES, POSITIVE_SCORES
from hybrid_dist.data.store.index import Ints
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.runtime import progress_bar

BLOCK = 4096


@dataclass(frozen=True)
class Block:
    """Some pairs of a language, in the order of the store."""

    language: str
    rows: Ints
    uids: list[str]
    queries: list[str]
    passages: list[str]
    passage_numbers: list[int]
    negatives: list[list[str]]
    negative_numbers: list[list[int]]
    positive_scores: list[float] | None
    """None if the store has no scores."""
    negative_scores: list[list[float]] | None


@dataclass(frozen=True)
class ExportedPairs:
    """The pairs of some languages of a store."""

    store: Store
    languages: tuple[str, ...]

    @classmethod
    def of(cls, store: Store, called: str, languages: Sequence[str] = ()) -> "ExportedPairs":
        """The pairs of a store that the user calls so.

        `languages`: any codes of languages that the store has pairs in; none means all.
        """
        sizes = store.index.language_sizes()
        known = [name for name, size in zip(store.index.languages, sizes, strict=True) if size]
        chosen = set(map(_canonical, languages))
        for name in sorted(chosen - set(known)):
            raise UserError(
                f"--languages: {called} has no pairs in {name!r}{nearest(name, known)} "
                f"(its languages: {', '.join(known)})"
            )
        return cls(store, tuple(name for name in known if not chosen or name in chosen))

    @property
    def has_scores(self) -> bool:
        return {POSITIVE_SCORES, NEGATIVE_SCORES} <= self.store.scores.keys()

    def rows(self, language: str) -> range:
        """The rows of a language."""
        number = self.store.index.languages.index(language)
        first, last = self.store.index.language_starts[number : number + 2].tolist()
        return range(first, last)

    def sizes(self) -> dict[str, int]:
        """The number of pairs of each language."""
        return {language: len(self.rows(language)) for language in self.languages}

    def listed_negatives(self, language: str) -> Ints:
        """How many negatives each pair of a language lists."""
        rows = self.rows(language)
        return np.diff(self.store.index.negative_starts[rows.start : rows.stop + 1])

    def blocks(self, language: str) -> Iterator[Block]:
        """All pairs of a language."""
        rows = self.rows(language)
        with progress_bar.part(f"writing pairs in {language}", len(rows)) as advance:
            for first in range(rows.start, rows.stop, BLOCK):
                block = self._block(language, first, min(first + BLOCK, rows.stop))
                yield block
                advance(len(block.uids))

    def _block(self, language: str, first: int, last: int) -> Block:
        store, index = self.store, self.store.index
        rows = np.arange(first, last)
        starts = index.negative_starts[first : last + 1]
        low, high = int(starts[0]), int(starts[-1])
        numbers = np.asarray(index.negatives[low:high])
        places = list(pairwise((starts - low).tolist()))
        texts, listed = store.passage_texts(numbers), numbers.tolist()
        positive = negative = None
        if self.has_scores:
            positive = store.scores[POSITIVE_SCORES][first:last].tolist()
            scores = store.scores[NEGATIVE_SCORES][low:high].tolist()
            negative = [scores[start:end] for start, end in places]
        return Block(
            language,
            rows,
            store.uids(rows),
            store.queries(rows),
            store.passages(rows),
            index.passage_of[first:last].tolist(),
            [texts[start:end] for start, end in places],
            [listed[start:end] for start, end in places],
            positive,
            negative,
        )


def _canonical(code: str) -> str:
    try:
        return canonical(code)
    except ValueError as error:
        raise UserError(f"--languages: {error}") from None
