"""Exact ranks at any depth, by counting the passages ahead of each relevant one.

The rank of passage d for query q is 1 + the number of passages with a higher score, or with the
same score and a smaller passage number. Counts are kept per language of the passages ahead, so
that one scan yields the rank in the pool of each language and in the pool of all. Counts add over
shards. The top passages are proposed from the same scores (candidates.py).

For each block of queries the host reads the device three times: scores of targets, counts,
proposals. Targets are sorted by passage, so the host knows which of them lie in a tile.

Shapes: P rows and Q columns of a tile (tiles.py); L languages; a *target* is a (query, relevant
passage) pair; T targets in a block of up to Q queries; S slots, the largest number of targets of
one query in the block.

    block [D, Q]             vectors of the block's queries
    tile [P, Q]              scores of P consecutive passages for the block
    numbers, scores [S, Q]   the targets as a table: column q holds those of the block's query q,
                             padded with number -1 and score +inf
    ahead [S', P, Q]         whether passage p is ahead of target (s, q), for S' <= grid.slots slots
    counts [S, L, Q]         passages ahead of each target, by language
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hybrid_dist.evaluation.candidates import Bounds, Candidates
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import BYTE_MAX, Shard, searched
from hybrid_dist.runtime.ranks import Ranks

TIED = 1024
"""Targets of one tile whose ties are counted at once."""
MANY_SLOTS = 32
"""With at least this many targets for a query, a CPU sorts the scores of a tile for its block
instead of comparing them with each target."""


@dataclass(frozen=True)
class Ranking:
    """The rank of every (query, relevant passage) pair, in the order of `task.relevant`.

    Infinite where a TREC run does not list the passage.
    """

    in_language: np.ndarray
    """Rank among the passages of the relevant passage's language."""
    pooled: np.ndarray
    """Rank among all passages."""


@dataclass(frozen=True)
class Targets:
    """The relevant passages of one block of queries, as a list of T by passage number, and as a
    table [S, Q]."""

    order: np.ndarray
    """[T]: the place of each target in `task.relevant`, from the first of the block."""
    passage: np.ndarray
    """[T]: its passage number, ascending."""
    cells: torch.Tensor
    """[3, T] on the device: the row and the column of each target in the table, and its passage
    number."""
    numbers: torch.Tensor
    """[S, Q] on the device: passage numbers, padded with -1."""

    @classmethod
    def of(cls, task: Task, block: range, columns: int, device: torch.device) -> "Targets":
        starts = task.relevant_starts[block.start : block.stop + 1]
        sizes = np.diff(starts)
        column = np.repeat(np.arange(len(block)), sizes)
        slot = np.arange(len(column)) - np.repeat(starts[:-1] - starts[0], sizes)
        passage = task.relevant[starts[0] : starts[-1]]
        order = np.argsort(passage, kind="stable")
        cells = torch.from_numpy(np.stack([slot, column, passage])[:, order]).to(device)
        numbers = torch.full((int(sizes.max()), columns), -1, device=device)
        numbers[cells[0], cells[1]] = cells[2]
        return cls(order, passage[order], cells, numbers)

    def within(self, first: int, rows: int) -> slice:
        """The targets among `rows` consecutive passages, as a slice of the list."""
        low, high = np.searchsorted(self.passage, [first, first + rows]).tolist()
        return slice(low, high)

    def table(self, scores: np.ndarray) -> torch.Tensor:
        """Scores [T] as a table [S, Q], padded with +inf: no passage is ahead of padding."""
        table = torch.full(self.numbers.shape, torch.inf, device=self.numbers.device)
        table[self.cells[0], self.cells[1]] = torch.from_numpy(scores).to(table.device)
        return table


def exact_ranks(task: Task, queries: np.ndarray, shards: Sequence[Shard], ranks: Ranks) -> Ranking:
    """Rank all relevant passages.

    Every process passes all query vectors [queries, D] and its own shards, all of one grid; every
    process gets the complete ranking.
    """
    return ranks_and_candidates(task, queries, shards, ranks, 0)[0]


def ranks_and_candidates(
    task: Task, queries: np.ndarray, shards: Sequence[Shard], ranks: Ranks, candidates: int
) -> tuple[Ranking, list[np.ndarray]]:
    """Rank all relevant passages, and propose the top passages from the same scores.

    Proposals are, for each of this process's shards, its first rows by (score, row), [queries, C]
    with C = min(candidates, rows of the shard).
    """
    return rank_by_scans(task, queries, [Scan(shard, task, candidates) for shard in shards], ranks)


def rank_by_scans(
    task: Task, queries: np.ndarray, scans: Sequence["Scan"], ranks: Ranks
) -> tuple[Ranking, list[np.ndarray]]:
    """As `ranks_and_candidates`, by scans of this process's shards."""
    grid = scans[0].grid
    in_language, pooled = [], []
    rows: list[list[np.ndarray]] = [[] for _ in scans]
    for block in searched(grid.blocks(len(queries))):
        targets = Targets.of(task, block, grid.columns, ranks.device)
        vectors = grid.load(queries[block.start : block.stop], ranks.device)
        target_scores = _sum_of(scan.score_targets(vectors, targets) for scan in scans)
        scores = targets.table(ranks.sum(target_scores.cpu().numpy()))
        counts = _sum_of(scan.count_ahead(vectors, targets, scores) for scan in scans)
        ahead = np.empty((len(targets.order), len(task.languages)), dtype=np.int64)
        ahead[targets.order] = ranks.sum(counts.cpu().numpy())
        own = task.passage_language[
            task.relevant[task.relevant_starts[block.start] :][: len(ahead)]
        ]
        in_language.append(1 + ahead[np.arange(len(own)), own])
        pooled.append(1 + ahead.sum(axis=1))
        for scan, proposed in zip(scans, rows, strict=True):
            proposed.append(scan.proposals()[: len(block)])
    ranking = Ranking(np.concatenate(in_language), np.concatenate(pooled))
    return ranking, [np.concatenate(proposed) for proposed in rows]


class Scan:
    """One shard, scanned twice per block of queries: for the targets' scores, then for counts and
    candidates."""

    may_sort = True
    """Whether scores are exact, so that they may be sorted."""

    def __init__(self, shard: Shard, task: Task, candidates: int) -> None:
        self.shard, self.grid, device = shard, shard.grid, shard.device
        rows, columns = self.grid.rows, self.grid.columns
        self.languages = len(task.languages)
        self.kept: list[int] = []
        """Starts of the tiles that the first scan has left in the first buffers."""
        most = min(self.grid.most_kept(), len(shard.tile_starts))
        self.buffers = self.grid.new_tiles(most + 1, device)
        self.candidates = None
        if candidates and shard.num_rows:
            count = min(candidates, shard.num_rows)
            self.candidates = Candidates(shard, count, len(self.buffers))
        self.ahead = torch.empty(self.grid.slots, rows, columns, dtype=torch.bool, device=device)
        self.row = torch.arange(rows, device=device)[:, None]
        own = task.passage_language[shard.start : shard.start + shard.num_rows]
        self.runs = self._runs(own, self.grid.run)
        many = int(np.diff(task.relevant_starts).max()) >= MANY_SLOTS
        can_sort = many and self.may_sort and device.type == "cpu"
        self.whole_runs = self._runs(own, rows) if can_sort else None
        """Without a limit on their rows, where some block has scores to sort."""

    def _runs(self, own: np.ndarray, most: int) -> dict[int, list[tuple[int, int, int]]]:
        """The runs of a language, of so many rows at most, in each tile by its start."""
        return {
            start: list(language_runs(own[start : start + self.grid.rows], most))
            for start in self.shard.tile_starts
        }

    def sorts(self, slots: int) -> bool:
        """Whether scores are sorted for a block in which some query has so many targets."""
        return self.whole_runs is not None and slots >= MANY_SLOTS

    def score_targets(self, block: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The scores of the targets [T] whose passage is in this shard, and 0 for others."""
        self.kept.clear()
        if self.candidates is not None:
            self.candidates.clear()
        scores = torch.zeros(len(targets.order), device=block.device)
        for start in self.shard.tile_starts:
            first = self.shard.start + start
            here = targets.within(first, min(self.grid.rows, self.shard.num_rows - start))
            if here.start < here.stop:
                tile = self._score(start, block)
                _, column, passage = targets.cells[:, here]
                scores[here] = tile[passage - first, column]
        return scores

    def count_ahead(
        self, block: torch.Tensor, targets: Targets, scores: torch.Tensor
    ) -> torch.Tensor:
        """[T, L]: how many passages of this shard are ahead of each target."""
        slots = len(scores)
        counts = scores.new_zeros(slots, self.languages, scores.shape[1], dtype=torch.int64)
        ties = counts.new_zeros(len(targets.order), self.languages)
        below = torch.nextafter(scores, scores.new_tensor(-torch.inf))
        for tile, start in self._tiles():
            if start not in self.kept:
                self.shard.score(start, block, tile)
            # All ties in tiles before the target's own are ahead of it; in those after, none.
            behind = targets.numbers >= self.shard.start + start + self.grid.rows
            limit = torch.where(behind, below, scores)
            if self.whole_runs is not None and self.sorts(slots):
                self._count_sorted(tile, self.whole_runs[start], limit, counts)
            else:
                self._count_compared(tile, self.runs[start], limit, counts)
            self._add_ties(start, tile, targets, scores, ties)
        slot, column, _ = targets.cells
        return counts[slot, :, column] + ties

    def _count_compared(
        self,
        tile: torch.Tensor,
        runs: Sequence[tuple[int, int, int]],
        limit: torch.Tensor,
        counts: torch.Tensor,
    ) -> None:
        """Add to `counts` [S, L, Q] the rows of a tile whose scores exceed `limit` [S, Q]."""
        for low in range(0, len(limit), self.grid.slots):
            part = slice(low, low + self.grid.slots)
            ahead = torch.gt(tile, limit[part, None], out=self.ahead[: len(limit[part])])
            for first, last, language in runs:
                counts[part, language] += self._sum(ahead[:, first:last])

    def _count_sorted(
        self,
        tile: torch.Tensor,
        runs: Sequence[tuple[int, int, int]],
        limit: torch.Tensor,
        counts: torch.Tensor,
    ) -> None:
        """As `_count_compared`, by a binary search for each limit among the scores of a run."""
        wanted = limit.T.contiguous()
        for first, last, language in runs:
            scores = tile[first:last].T.contiguous()
            scores.numpy().sort(axis=1)
            not_ahead = torch.searchsorted(scores, wanted, right=True)
            counts[:, language] += (last - first - not_ahead).T

    def _tiles(self) -> Iterator[tuple[torch.Tensor, int]]:
        """The buffer and the first row of each tile. Whoever iterates scores the tile and counts;
        then its candidates are noted, which overwrites the scores of padding."""
        for window in self._windows():
            for slot, start in enumerate(window):
                tile = self.buffers[slot]
                yield tile, start
                if self.candidates is not None:
                    self.candidates.note(slot, start, tile)
            if self.candidates is not None:
                self.candidates.choose(self.buffers[: len(window)], window)

    def _windows(self) -> Iterator[list[int]]:
        """The tiles of a shard in groups that fit into the buffers, kept ones first."""
        starts = [*self.kept, *(s for s in self.shard.tile_starts if s not in self.kept)]
        for low in range(0, len(starts), len(self.buffers)):
            yield starts[low : low + len(self.buffers)]

    def proposals(self) -> np.ndarray:
        """[Q, C]: rows of this shard's candidates; C is 0 where none are wanted."""
        if self.candidates is None:
            return np.empty((self.grid.columns, 0), dtype=np.int64)
        return self.candidates.rows().cpu().numpy()

    def candidate_bounds(self, queries: int) -> Bounds | None:
        """What the candidates of so many queries leave open: nothing, unless scores are coarse."""
        return None

    def _add_ties(
        self,
        start: int,
        tile: torch.Tensor,
        targets: Targets,
        scores: torch.Tensor,
        ties: torch.Tensor,
    ) -> None:
        """Add to `ties` [T, L] those ahead of the targets whose passage is in this tile: those in
        smaller rows."""
        here = targets.within(self.shard.start + start, self.grid.rows)
        for low in range(here.start, here.stop, TIED):
            part = slice(low, min(low + TIED, here.stop))
            slot, column, passage = targets.cells[:, part]
            equal = tile.index_select(1, column) == scores[slot, column]
            equal &= self.row < passage - (self.shard.start + start)
            for first, last, language in self.runs[start]:
                ties[part, language] += equal[first:last].sum(0)

    def _sum(self, ahead: torch.Tensor) -> torch.Tensor:
        """[S', Q]: the counts of some rows of booleans [S', rows, Q]."""
        if self.grid.run <= BYTE_MAX:
            return ahead.view(torch.int64).sum(1).view(torch.uint8)
        return ahead.sum(1)

    def _score(self, start: int, block: torch.Tensor) -> torch.Tensor:
        """The scores of a tile [P, Q], kept for the second scan while there are buffers."""
        out = self.buffers[len(self.kept)]
        self.shard.score(start, block, out)
        if len(self.kept) < len(self.buffers) - 1:
            self.kept.append(start)
        return out


def _sum_of(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    return functools.reduce(torch.add, parts)


def language_runs(languages: np.ndarray, most: int) -> Iterator[tuple[int, int, int]]:
    """Runs of rows in one language, (start, stop, language), of at most `most` rows."""
    edges = [0, *(np.flatnonzero(np.diff(languages)) + 1).tolist(), len(languages)]
    for low, high in pairwise(edges):
        parts = -(-(high - low) // most)
        cuts = [low + (high - low) * part // parts for part in range(parts + 1)]
        for start, stop in pairwise(cuts):
            yield start, stop, int(languages[low])
