"""Mining block by block: search, rank window, rescoring, filters, choice.

All ranks hold a part of the pool, search it for all queries of a block and choose the same; the
first writes. Shapes as in `rules`; D is the dimension of vectors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hybrid_dist.data.store.reader import Store
from hybrid_dist.evaluation.exact_products import paired_products
from hybrid_dist.evaluation.search import NO_PASSAGE, Searcher, top_k
from hybrid_dist.evaluation.task_vectors import Vectors
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.mining.cross_encoding import Rescorer
from hybrid_dist.mining.mined_blocks import BLOCK, TALLY, BlockFiles, Mined
from hybrid_dist.mining.pools import Pool
from hybrid_dist.mining.relevance import KnownRelevance
from hybrid_dist.mining.rules import Rules, Window, choose, cut_window, too_close
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.ranks import Ranks

RESCORED = 16
"""Queries whose pairs a rank rescores together. Their batches do not depend on how many ranks
there are, since padding changes the last bits of a score."""
RANKED = 1 << 22
"""Places of rankings, queries x passages of each, that are searched at once: up to 100 bytes of
temporary memory each. A block with a window that ends at rank 500 is searched whole."""


@dataclass(frozen=True)
class Miner:
    """What mines a store. All ranks call it together."""

    store: Store
    pools: Sequence[Pool]
    """The pool of each language's queries."""
    rules: Rules
    vectors: Vectors
    rescorer: Rescorer | None
    searcher: Searcher
    ranks: Ranks
    log: Callable[[str], None]

    def run(self, files: BlockFiles) -> None:
        """Mine the blocks that are missing."""
        missing = self.ranks.decide_on_first(files.missing)
        if len(missing) < len(files.places):
            done = len(files.places) - len(missing)
            self.log(f"{done:,} of {len(files.places):,} blocks of queries are mined already")
        relevance, searched = KnownRelevance(self.store.index), None
        queries = sum(len(files.places[number].rows) for number in missing)
        with progress_bar.part("searching", queries):  # a bar for the searches of all blocks
            for number in missing:
                language, rows = files.places[number]
                pool = self.pools[language]
                if searched is None or searched.pool is not pool:
                    searched = _Searched(pool, self._shard(pool), relevance.in_pool(pool.numbers))
                mined = self._mine(np.arange(rows.start, rows.stop), searched, relevance)
                self.ranks.decide_on_first(partial(files.write, number, mined))
                self.log(f"mined {rows.stop:,} of {self.store.index.num_rows:,} queries")

    def _shard(self, pool: Pool) -> Shard:
        """This rank's part of a pool; rows are positions in it."""
        size, device = len(pool.numbers), self.ranks.device
        grid = Grid.of(device, BLOCK, size)
        own = grid.shards(size, self.ranks.world)[self.ranks.rank]
        return Shard.of(own.start, self._passages(pool.numbers[own.start : own.stop]), device, grid)

    def _passages(self, numbers: np.ndarray) -> np.ndarray:
        """The vectors of passages [len(numbers), D]; a run of them stays mapped."""
        if len(numbers) and numbers[-1] - numbers[0] + 1 == len(numbers):
            return self.vectors.passages(slice(int(numbers[0]), int(numbers[-1]) + 1))
        everything = self.vectors.passages(slice(0, len(self.store.passage_column)))
        vectors: np.ndarray = everything[numbers]
        return vectors

    def _mine(self, rows: np.ndarray, searched: "_Searched", relevance: KnownRelevance) -> Mined:
        queries = self.vectors.queries(slice(int(rows[0]), int(rows[-1]) + 1))
        own = self.store.index.passage_of[rows]
        window = self._windows(queries, rows, own, searched, relevance)
        positives = paired_products(queries, self._passages(own))
        if self.rescorer is not None:
            window, positives = self._rescored(rows, own, window, self.rescorer)
        refused = too_close(window.scores, positives, self.rules)
        listed = window.numbers != NO_PASSAGE
        kept = listed & ~np.logical_or.reduce([np.zeros_like(listed), *refused.values()])
        chosen = choose(window, kept, rows, self.rules)
        tally = {
            "queries": len(rows),
            "candidates": listed.sum(),
            "relevant": window.relevant.sum(),
            "removed": (listed & ~kept).sum(),
            **{name: (listed & mask).sum() for name, mask in refused.items()},
        }
        counted = np.array([tally.get(name, 0) for name in TALLY], np.int64)
        return Mined(*chosen, positives, counted)

    def _windows(
        self,
        queries: np.ndarray,
        rows: np.ndarray,
        own: np.ndarray,
        searched: "_Searched",
        relevance: KnownRelevance,
    ) -> Window:
        """The rank windows of a block. A query needs as many passages more than the window's last
        rank as are known to be relevant to it; those that need many are searched apart."""
        counts = self.rules.last + relevance.counts(rows, searched.relevant)
        parts, windows = list(parts_of(counts, RANKED)), []
        for part in parts:
            count = int(counts[part].max())
            top = top_k(queries[part], [searched.shard], count, self.ranks, searcher=self.searcher)
            numbers = np.where(
                top.numbers == NO_PASSAGE, NO_PASSAGE, searched.pool.numbers[top.numbers]
            )
            relevant = relevance.of(rows[part], numbers)
            windows.append(cut_window(numbers, top.scores, relevant, own[part], self.rules))
        in_order = np.argsort(np.concatenate(parts))
        return Window(*(np.concatenate(of)[in_order] for of in zip(*windows, strict=True)))

    def _rescored(
        self, rows: np.ndarray, own: np.ndarray, window: Window, rescorer: Rescorer
    ) -> tuple[Window, np.ndarray]:
        """The window and the positives [B] with the scores of a CrossEncoder; each rank computes
        those of its queries."""
        numbers = np.column_stack([own, window.numbers])
        scores = np.zeros(numbers.shape, np.float32)
        listed = numbers != NO_PASSAGE
        for low in range(RESCORED * self.ranks.rank, len(rows), RESCORED * self.ranks.world):
            part = slice(low, low + RESCORED)
            queries = np.repeat(rows[part], listed[part].sum(axis=1))
            passages = self.store.passage_texts(numbers[part][listed[part]])
            of_part = scores[part]
            of_part[listed[part]] = rescorer.scores(self.store.queries(queries), passages)
        scores = self.ranks.sum(scores)  # 0 from every other rank, so sums are exact
        scores[~listed] = -np.inf
        return window._replace(scores=scores[:, 1:]), scores[:, 0].copy()


@dataclass(frozen=True)
class _Searched:
    """A pool, this rank's part of it, and how many of its passages are relevant to queries."""

    pool: Pool
    shard: Shard
    relevant: np.ndarray


def parts_of(counts: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Queries with these counts in parts of similar counts, each as positions: queries x highest
    count of a part are at most the budget, unless the part is one query."""
    order = np.argsort(counts, kind="stable")
    while len(order):
        size = max(1, budget // int(counts[order[-1]]))
        yield order[-size:]
        order = order[:-size]
