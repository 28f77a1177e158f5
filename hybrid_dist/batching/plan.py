"""The plan: a pure function of (configuration, index, seed, step) that names a whole global batch.

Every rank computes it alone and takes its share, so nothing is communicated, nothing is stored
but the step, and the batches are the same on any number of ranks and after any interruption.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hybrid_dist.batching.draw import key, keyed_hash, permutation
from hybrid_dist.batching.schedule import Schedule
from hybrid_dist.config import Batching, Mix
from hybrid_dist.data.store import Index
from hybrid_dist.errors import UserError

MONOLINGUAL, CROSS_LINGUAL, MULTILINGUAL = "monolingual", "cross_lingual", "multilingual"
KINDS = (MONOLINGUAL, CROSS_LINGUAL, MULTILINGUAL)


@dataclass(frozen=True)
class GlobalBatch:
    """What one step trains on, over all ranks: row i is a question and its passage."""

    step: int
    kind: str
    language: str | None
    """The language of a monolingual batch."""
    uid: np.ndarray
    query_row: np.ndarray
    passage_row: np.ndarray
    groups: np.ndarray
    """Of each row its passage's and its question's group: rows equal in either may answer each
    other's question, so they are no negatives of each other."""

    def __len__(self) -> int:
        return len(self.uid)

    def false_negatives(self) -> int:
        """Ordered pairs of different rows that share a passage's or a question's group."""
        passages, queries = (_pairs_alike(self.groups[:, i]) for i in (0, 1))
        return passages + queries - _pairs_alike(self.groups)


def _pairs_alike(values: np.ndarray) -> int:
    _, counts = np.unique(values, axis=0, return_counts=True)
    return int((counts * (counts - 1)).sum())


@dataclass(frozen=True)
class LeftOut:
    """A language too small for a monolingual batch."""

    language: str
    pairs: int

    def __str__(self) -> str:
        return (
            f"{self.language} has {self.pairs} pairs, fewer than batching.size, so it gives no "
            f"monolingual batch (batching.size {self.pairs} or less would admit it)"
        )


def largest_size(index: Index, mix: Mix) -> int:
    """The largest batch that every language and kind of the mix can give."""
    bounds = []
    if mix.monolingual:
        bounds.append(int(index.language_sizes().min()))
    if mix.cross_lingual or mix.multilingual:
        bounds.append(len(_parallel(index)))
    return min(bounds)


def _parallel(index: Index) -> np.ndarray:
    """Uids that stand in two languages or more."""
    return np.flatnonzero(np.diff(index.uid_starts) >= 2)


class Plan:
    """`plan.batch(step)` for the streams that the index and the mix allow."""

    def __init__(self, index: Index, batching: Batching, seed: int) -> None:
        self.index, self.size, self._seed = index, batching.size, seed
        self._parallel = _parallel(index)
        self._check(batching)
        sizes = index.language_sizes()
        self.languages = np.flatnonzero(sizes >= self.size)
        self.left_out = (
            [LeftOut(index.languages[i], int(n)) for i, n in enumerate(sizes) if n < self.size]
            if batching.mix.monolingual
            else []
        )
        mix = batching.mix
        self._schedule = Schedule(
            weights=(mix.monolingual, mix.cross_lingual, mix.multilingual),
            shares=(
                sizes[self.languages].astype(float) ** batching.language_temperature,
                np.ones(1),
                np.ones(1),
            ),
            seed=seed,
        )
        self._permutation = lru_cache(maxsize=len(self.languages) + 2)(permutation)

    def batch(self, step: int) -> GlobalBatch:
        """The global batch of a step; steps count from 0."""
        kind, choice, number = self._schedule(step)
        if KINDS[kind] == MONOLINGUAL:
            return self._monolingual(step, int(self.languages[choice]), number)
        return self._parallel_batch(step, KINDS[kind], number)

    def _monolingual(self, step: int, language: int, number: int) -> GlobalBatch:
        first, last = self.index.language_starts[language : language + 2]
        name = self.index.languages[language]
        positions, _ = self._next(f"{MONOLINGUAL}/{name}", int(last - first), number)
        rows = first + positions
        return self._batch(step, MONOLINGUAL, name, self.index.row_uid[rows], rows, rows)

    def _parallel_batch(self, step: int, kind: str, number: int) -> GlobalBatch:
        """Uids of several languages; for each its question's and its passage's is drawn."""
        positions, pass_key = self._next(kind, len(self._parallel), number)
        uids = self._parallel[positions]
        starts, ends = self.index.uid_starts[uids], self.index.uid_starts[uids + 1]
        languages = (ends - starts).astype(np.uint64)
        bits = keyed_hash(key(pass_key, "languages"), uids)
        query = bits % languages
        if kind == CROSS_LINGUAL:
            passage = bits // languages % (languages - np.uint64(1))
            passage += passage >= query  # any language but the question's
        else:
            passage = bits // languages % languages
        rows = self.index.uid_rows
        return self._batch(
            step,
            kind,
            None,
            uids,
            rows[starts + query.astype(int)],
            rows[starts + passage.astype(int)],
        )

    def _next(self, stream: str, length: int, number: int) -> tuple[np.ndarray, int]:
        """Batch `number` of a stream: the stream is walked in a new order in every pass."""
        per_pass = length // self.size
        pass_key = key(self._seed, stream, number // per_pass)
        start = number % per_pass * self.size
        return self._permutation(pass_key, length)[start : start + self.size], pass_key

    def _batch(
        self,
        step: int,
        kind: str,
        language: str | None,
        uids: np.ndarray,
        query_rows: np.ndarray,
        passage_rows: np.ndarray,
    ) -> GlobalBatch:
        groups = np.stack([self.index.passage_group[uids], self.index.query_group[uids]], axis=1)
        return GlobalBatch(step, kind, language, uids, query_rows, passage_rows, groups)

    def _check(self, batching: Batching) -> None:
        sizes, languages, mix = self.index.language_sizes(), self.index.languages, batching.mix
        if mix.monolingual and sizes.max() < self.size:
            raise UserError(
                f"batching.size: {self.size} is more than the pairs of the largest language "
                f"({languages[sizes.argmax()]}: {sizes.max()}); choose {sizes.max()} or less, "
                "or set batching.mix.monolingual to 0"
            )
        for kind, weight in ((CROSS_LINGUAL, mix.cross_lingual), (MULTILINGUAL, mix.multilingual)):
            if weight and len(self._parallel) < self.size:
                raise UserError(self._too_few_parallel(kind, languages))

    def _too_few_parallel(self, kind: str, languages: Sequence[str]) -> str:
        if len(languages) == 1:
            found = f"data.train has one language ({languages[0]})"
        else:
            found = f"data.train has {len(self._parallel)} uids in two languages or more"
        cure = f"set batching.mix.{kind} to 0, or add pairs that share uids across languages"
        if len(self._parallel) >= 2:
            cure = f"choose a batching.size of {len(self._parallel)} or less, {cure}"
        return f"batching.mix.{kind}: {found}, too few for a batch of {self.size}; {cure}"
