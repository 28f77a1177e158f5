"""The top k passages of every query, identical for any backend of exhaustive search and any number
of shards.

A backend makes k + SPARE proposals per shard: the counting of ranks, from the scores that it
computes anyway; FAISS; or torch, tile by tile. Their exact scores are computed pair by pair in
float64, which depends on the two vectors alone, and they are merged by (score, passage number).
FAISS breaks ties arbitrarily: where its last proposal may tie with a passage that it left out, the
shard is searched tile by tile instead.

Shapes: Q queries, D dimensions, C = min(k + SPARE, rows of a shard) proposals.

    queries [Q, D]       all queries, on every rank
    shard.vectors [rows, D]
    rows [Q, C]          proposals as rows of the shard; -1 for none
    numbers, scores [Q, C]   their passage numbers (row + shard.start) and exact inner products
    TopK.numbers, .scores [Q, k]   merged over shards and ranks, best first
"""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.candidates import Bounds, Candidates
from hybrid_dist.evaluation.exact_products import products
from hybrid_dist.evaluation.faiss_backend import Faiss, FaissOnCards
from hybrid_dist.evaluation.tiles import Shard, searched
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.cores import own_cores
from hybrid_dist.runtime.faiss_build import import_problem, remedy, try_faiss
from hybrid_dist.runtime.ranks import Ranks

Search = Literal["auto", "faiss", "torch"]
EXACT = "Flat"
"""The factory string of exhaustive search."""
SAMPLE = 200
"""Queries on which the recall of an approximate index is measured."""
SPARE = 16
"""Proposals of each shard beyond k."""
NO_PASSAGE = -1
"""Fills the passage numbers where a pool has fewer than k passages."""
FETCHED = 64
"""Queries whose proposals are fetched at once, unless they have many."""
FETCHED_VECTORS = 1 << 16
"""The most vectors that are fetched at once; those of one query always are."""


@dataclass(frozen=True)
class TopK:
    """The top passages of every query, best first."""

    numbers: np.ndarray
    """[Q, k]: passage numbers; NO_PASSAGE where the pool is smaller."""
    scores: np.ndarray
    """[Q, k]"""
    method: str
    """The backend that proposed them, for the report."""

    def first(self, k: int) -> "TopK":
        """The first k columns."""
        return TopK(self.numbers[:, :k], self.scores[:, :k], self.method)


@dataclass(frozen=True)
class Searcher:
    """What proposes the top passages, the same on all ranks, and why."""

    faiss: Faiss | None
    """None: torch."""
    index: str = EXACT
    why: str = ""

    @classmethod
    def choose(
        cls, search: Search, index: str, ranks: Ranks, with_ranks: bool = False
    ) -> "Searcher":
        """All ranks choose together. `with_ranks`: all scores are computed anyway, to count ranks.

        Raises a UserError if FAISS is requested but cannot search on the device of every rank.
        """
        check_search(search, index)
        if search == "torch":
            return cls(None, index, "as --search asks")
        if search == "auto" and index == EXACT and with_ranks:
            return cls(None, index, "from the scores that ranks are counted from")
        problem = _first(ranks.gather(_problem(ranks)))
        if not problem:
            return cls(_faiss(ranks), index, "as --search asks" if search == "faiss" else "")
        if search == "faiss":
            raise UserError(f"--search faiss: {problem}; {_remedy()}")
        if index == EXACT:
            return cls(None, index, problem)
        if broken := _first(ranks.gather(import_problem())):
            raise _no_index(index, broken)
        return cls(Faiss(own_cores()), index, problem)


def check_search(search: Search, index: str) -> None:
    """Refuse an index that torch does not have."""
    if index != EXACT and search == "torch":
        raise UserError(f"--index {index}: only faiss has this index; leave --search torch out")


def _faiss(ranks: Ranks) -> Faiss:
    return Faiss() if ranks.device.type == "cpu" else FaissOnCards(_cards(ranks))


def _cards(ranks: Ranks) -> list[torch.device]:
    """This process's card, or all cards where this is the only process."""
    cards = torch.cuda.device_count()
    if ranks.world > 1 or cards == 1:
        return [ranks.device]
    return [torch.device("cuda", card) for card in range(cards)]


def _problem(ranks: Ranks) -> str:
    """Why FAISS does not serve the devices of this process; empty: it does."""
    if ranks.device.type == "cpu":
        return import_problem()
    return _first(try_faiss(card.index or 0).problem for card in _cards(ranks))


def _first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def _remedy() -> str:
    return f"{remedy()} (docs/evaluation.md), or leave the option out"


def _no_index(index: str, problem: str) -> UserError:
    return UserError(f"--index {index}: {problem}; {_remedy()}")


def top_k(
    queries: np.ndarray,
    shards: Sequence[Shard],
    k: int,
    ranks: Ranks,
    index: str = EXACT,
    searcher: Searcher | None = None,
) -> TopK:
    """The top k over the shards of all ranks, on every rank, by FAISS where it can be used.

    With the factory string of an approximate FAISS index the top k are those that the index
    returns, and `method` states its recall on a sample of the queries.
    """
    searcher = searcher or Searcher.choose("auto", index, ranks)
    queries = np.ascontiguousarray(queries)
    if searcher.faiss is not None and searcher.index != EXACT:
        return _search_index(queries, shards, k, ranks, searcher.faiss, searcher)
    there = [shard for shard in shards if shard.num_rows]
    faiss, why = searcher.faiss, searcher.why
    if faiss is not None and there:
        most = min(faiss.most(shard) for shard in there)
        if min(k + SPARE, max(shard.num_rows for shard in there)) > most:
            why = f"{faiss.name} returns at most {most:,} proposals on {faiss.where}"
            faiss = None
    results = [_search_shard(queries, shard, k, faiss) for shard in there]
    merged = _merge_ranks(results, len(queries), k, ranks)
    name = f"{faiss.name} on {faiss.where}, exact" if faiss else _torch(ranks.device)
    return TopK(*merged, f"{name} ({why})" if why else name)


def merge_proposals(
    queries: np.ndarray,
    shards: Sequence[Shard],
    rows: Sequence[np.ndarray],
    k: int,
    ranks: Ranks,
    why: str = "",
    bounds: Sequence[Bounds | None] = (),
) -> TopK:
    """The top k from proposals [Q, C] of each shard, C >= min(k + SPARE, rows of the shard).

    `bounds` of each shard if its proposals come from coarse scores; what they leave open is
    searched in fp32.
    """
    results = []
    for shard, own, bound in zip(shards, rows, bounds or [None] * len(shards), strict=True):
        if shard.num_rows:
            numbers, scores = _exact_scores(queries, shard, own)
            if bound is not None:
                _search_open(queries, shard, numbers, scores, bound, k)
            results.append((numbers, scores))
    merged = _merge_ranks(results, len(queries), k, ranks)
    return TopK(*merged, f"{_torch(ranks.device)} ({why})" if why else _torch(ranks.device))


def _search_open(
    queries: np.ndarray,
    shard: Shard,
    numbers: np.ndarray,
    scores: np.ndarray,
    bounds: Bounds,
    k: int,
) -> None:
    """Replace the proposals and scores [Q, C] of the queries that coarse scores leave open; each
    is scored in its block, as it would have been without them."""
    left_open = bounds.leave_open(scores, k)
    for block in shard.grid.blocks(len(queries)):
        again = left_open[(left_open >= block.start) & (left_open < block.stop)]
        if len(again):
            rows = propose_by_tiles(queries[block.start : block.stop], shard, bounds.needed)
            numbers[again], scores[again] = NO_PASSAGE, -np.inf
            found = _exact_scores(queries[again], shard, rows[again - block.start])
            numbers[again, : bounds.needed], scores[again, : bounds.needed] = found


def check_index(index: str, dimension: int) -> None:
    """Refuse a factory string from which FAISS cannot build an index of this dimension."""
    if index == EXACT:
        return
    if problem := import_problem():
        raise _no_index(index, problem)
    Faiss().empty(index, dimension)


def _search_index(
    queries: np.ndarray,
    shards: Sequence[Shard],
    k: int,
    ranks: Ranks,
    faiss: Faiss,
    searcher: Searcher,
) -> TopK:
    """The top k of an approximate index, scored and merged as those of an exact search."""
    results = []
    for shard in shards:
        if shard.num_rows:
            count = min(k + SPARE, shard.num_rows)
            built = faiss.build(searcher.index, shard, count)
            _, rows = faiss.search(built, queries, count)
            results.append(_exact_scores(queries, shard, rows))
    numbers, scores = _merge_ranks(results, len(queries), k, ranks)
    where = f"{faiss.where}; {searcher.why}" if searcher.why else faiss.where
    sample = np.linspace(0, len(queries) - 1, min(len(queries), SAMPLE)).astype(np.int64)
    by_torch = Searcher(None)
    exact = top_k(queries[sample], shards, k, ranks, searcher=by_torch).numbers
    pairs = zip(numbers[sample].tolist(), exact.tolist(), strict=True)
    hits = sum(len(set(approximate) & set(true) - {NO_PASSAGE}) for approximate, true in pairs)
    recall = hits / np.sum(exact != NO_PASSAGE)
    method = (
        f"{faiss.name} on {where}: {searcher.index}, which finds {recall:.2%} of the best {k} of "
        f"{len(sample)} queries"
    )
    return TopK(numbers, scores, method)


def _merge_ranks(
    results: Sequence[tuple[np.ndarray, np.ndarray]], queries: int, k: int, ranks: Ranks
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the results of all ranks' shards: numbers and scores [Q, k], on every rank."""
    no_scores = np.full((queries, k), -np.inf, dtype=np.float32)
    results = [*results, (np.full((queries, k), NO_PASSAGE), no_scores)]
    numbers, scores = _merge(results, k)
    by_rank = list(
        zip(
            np.split(ranks.gather_rows(numbers), ranks.world),
            np.split(ranks.gather_rows(scores), ranks.world),
            strict=True,
        )
    )
    return _merge(by_rank, k)


def _merge(
    results: Sequence[tuple[np.ndarray, np.ndarray]], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first k of each query by descending score, then ascending passage number."""
    numbers = np.concatenate([numbers for numbers, _ in results], axis=1)
    scores = np.concatenate([scores for _, scores in results], axis=1)
    order = np.lexsort((numbers, -scores), axis=1)[:, :k]
    return np.take_along_axis(numbers, order, 1), np.take_along_axis(scores, order, 1)


def _torch(device: torch.device) -> str:
    return f"torch {torch.__version__} on {device.type}, exact"


def _search_shard(
    queries: np.ndarray, shard: Shard, k: int, faiss: Faiss | None
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and scores [Q, C] of one shard's proposals."""
    count = min(k + SPARE, shard.num_rows)
    if faiss is None:
        return _exact_scores(queries, shard, propose_by_tiles(queries, shard, count))
    proposed, rows = faiss.exhaustive(queries, shard, count)
    numbers, scores = _exact_scores(queries, shard, rows)
    if count < shard.num_rows:
        last, kth = proposed[:, -1], np.sort(scores, axis=1)[:, -k]
        off = np.where(rows < 0, 0, np.abs(proposed - scores)).max(initial=0)
        slack = max(faiss.slack(shard), 2 * off)  # whatever the precision of its products
        ambiguous = np.flatnonzero(last >= kth - slack)
        with progress_bar.shown(speaks=False):  # these queries have been counted
            rows = propose_by_tiles(queries[ambiguous], shard, count)
        numbers[ambiguous], scores[ambiguous] = _exact_scores(queries[ambiguous], shard, rows)
    return numbers, scores


def propose_by_tiles(queries: np.ndarray, shard: Shard, count: int) -> np.ndarray:
    """Rows of the best passages [Q, C] by (score, row), tile by tile."""
    device, grid, starts = shard.device, shard.grid, shard.tile_starts
    proposals = [np.empty((0, count), dtype=np.int64)]
    tiles = grid.new_tiles(min(grid.most_kept(), len(starts)), device)
    best = Candidates(shard, count, len(tiles))
    for block in searched(grid.blocks(len(queries))):
        vectors = grid.load(queries[block.start : block.stop], device)
        best.clear()
        for low in range(0, len(starts), len(tiles)):
            window = starts[low : low + len(tiles)]
            for slot, start in enumerate(window):
                shard.score(start, vectors, tiles[slot])
                best.note(slot, start, tiles[slot])
            best.choose(tiles[: len(window)], window)
        proposals.append(best.rows()[: len(block)].cpu().numpy())
    return np.concatenate(proposals)


def _exact_scores(
    queries: np.ndarray, shard: Shard, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Passage numbers and exact scores of proposed rows [Q, C]; the cores share the queries."""
    numbers = np.where(rows < 0, NO_PASSAGE, rows + shard.start)
    scores = np.empty(rows.shape, dtype=np.float32)
    step = max(1, min(FETCHED, FETCHED_VECTORS // max(1, rows.shape[1])))
    parts = [slice(low, low + step) for low in range(0, len(rows), step)]

    def score(part: slice) -> None:
        vectors, own = _fetched(shard, rows[part])
        scores[part] = products(queries[part], vectors, own)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        deque(pool.map(score, parts), maxlen=0)
    scores[rows < 0] = -np.inf
    return numbers, scores


def _fetched(shard: Shard, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in the host's memory, and the places there of some rows of the shard."""
    if shard.vectors.device.type == "cpu":
        return shard.vectors.numpy(), rows
    there = torch.from_numpy(rows.ravel()).clamp(min=0).to(shard.vectors.device)
    return shard.vectors[there].cpu().numpy(), np.arange(rows.size).reshape(rows.shape)
