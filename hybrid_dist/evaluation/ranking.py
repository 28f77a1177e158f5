"""Exact ranks at any depth, by counting who stands ahead.

The rank of passage d for query q is 1 + the passages that score more + those that score the
same and have a smaller number. Counts are kept per language of the passages ahead, so one scan
answers for the pool of any language and for the pool of all, and counts add over shards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import (
    PASSAGES,
    QUERIES,
    Shard,
    load_block,
    new_tiles,
    query_blocks,
)
from hybrid_dist.runtime.ranks import Ranks

KEPT_TILES = 32
"""Tiles of a shard that are kept (2 MiB each) between finding the targets and counting."""
PLACES = 16
"""Targets of a query that are compared with a tile at once (half a MiB each)."""
FULL = 255
"""What a byte counts to: yes-or-no bytes are added eight at a time, as 64-bit words."""


@dataclass(frozen=True)
class Ranking:
    """Of every (query, relevant passage) pair, in the task's order: where it is ranked.

    Ranks are infinite where a search did not list the passage.
    """

    in_language: np.ndarray
    """Rank among the passages of the relevant passage's language."""
    pooled: np.ndarray
    """Rank among all passages."""


@dataclass(frozen=True)
class Targets:
    """The relevant passages of one block of queries, as a table [places, QUERIES]."""

    place: np.ndarray
    """Of each pair: its row in the table."""
    column: np.ndarray
    """Of each pair: its query's column."""
    passage: np.ndarray
    """Of each pair: its passage's number."""
    numbers: torch.Tensor
    """The table of passage numbers; -1 where a query has fewer."""

    @classmethod
    def of(cls, task: Task, block: range, device: torch.device) -> "Targets":
        starts = task.relevant_starts[block.start : block.stop + 1]
        sizes = np.diff(starts)
        column = np.repeat(np.arange(len(block)), sizes)
        place = np.arange(len(column)) - np.repeat(starts[:-1] - starts[0], sizes)
        passage = task.relevant[starts[0] : starts[-1]]
        numbers = np.full((int(sizes.max()), QUERIES), -1, dtype=np.int64)
        numbers[place, column] = passage
        return cls(place, column, passage, torch.from_numpy(numbers).to(device))

    def table(self, scores: np.ndarray) -> torch.Tensor:
        """The pairs' scores as a table; nothing is ahead of the infinity that fills it."""
        table = np.full(self.numbers.shape, np.inf, dtype=np.float32)
        table[self.place, self.column] = scores
        return torch.from_numpy(table).to(self.numbers.device)


def exact_ranks(task: Task, queries: np.ndarray, shards: Sequence[Shard], ranks: Ranks) -> Ranking:
    """Ranks of all relevant passages. Every rank has all queries and its own shards."""
    scans = [_Scan(shard, task) for shard in shards]
    in_language, pooled = [], []
    for block in query_blocks(len(queries)):
        targets = Targets.of(task, block, ranks.device)
        vectors = load_block(queries[block.start : block.stop], ranks.device)
        found = np.zeros(len(targets.passage), dtype=np.float32)
        for scan in scans:
            scan.find(vectors, targets, found)
        scores = targets.table(ranks.sum(found))
        ahead = np.zeros((len(targets.passage), len(task.languages)), dtype=np.int64)
        for scan in scans:
            ahead += scan.count(vectors, targets, scores)
        ahead = ranks.sum(ahead)
        own = task.passage_language[targets.passage]
        in_language.append(1 + ahead[np.arange(len(own)), own])
        pooled.append(1 + ahead.sum(axis=1))
    return Ranking(np.concatenate(in_language), np.concatenate(pooled))


class _Scan:
    """One shard, walked twice for each block of queries."""

    def __init__(self, shard: Shard, task: Task) -> None:
        device = shard.vectors.device
        self.shard = shard
        self.languages = len(task.languages)
        self.kept: dict[int, torch.Tensor] = {}
        self.room = new_tiles(min(KEPT_TILES, len(shard.tile_starts)), device)
        self.spare = new_tiles(1, device)[0]
        self.ahead = torch.empty(PLACES, PASSAGES, QUERIES, dtype=torch.bool, device=device)
        self.row = torch.arange(PASSAGES, device=device)[:, None]
        own = task.passage_language[shard.start : shard.start + shard.rows]
        self.pieces = {
            start: list(_pieces(own[start : start + PASSAGES])) for start in shard.tile_starts
        }

    def find(self, block: torch.Tensor, targets: Targets, found: np.ndarray) -> None:
        """Put the scores of the pairs whose passage is here into `found`."""
        self.kept.clear()
        for start in self.shard.tile_starts:
            offset = targets.passage - (self.shard.start + start)
            here = np.flatnonzero((offset >= 0) & (offset < min(PASSAGES, self.shard.rows - start)))
            if len(here):
                tile = self._score(start, block)
                rows = torch.from_numpy(offset[here]).to(tile.device)
                columns = torch.from_numpy(targets.column[here]).to(tile.device)
                found[here] = tile[rows, columns].cpu().numpy()

    def count(self, block: torch.Tensor, targets: Targets, scores: torch.Tensor) -> np.ndarray:
        """Of each pair and language: how many passages of this shard are ahead."""
        places = len(scores)
        counts = scores.new_zeros(places, self.languages, QUERIES, dtype=torch.int64)
        for start in self.shard.tile_starts:
            tile = self.kept[start] if start in self.kept else self._score(start, block)
            for low in range(0, places, PLACES):
                some = slice(low, low + PLACES)
                words = self._ahead(start, tile, targets.numbers[some], scores[some])
                for first, last, language in self.pieces[start]:
                    lanes = words[:, first:last].sum(1)
                    counts[some, language] += lanes.view(torch.uint8)
        return counts.cpu().numpy()[targets.place, :, targets.column]

    def _ahead(
        self, start: int, tile: torch.Tensor, numbers: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        """For some places: which passages of the tile are ahead of the target, a byte for each.

        In a tile before the target's own a tie is ahead: to be at least the score is to be more
        than the next smaller number. In a tile behind it no tie is. Within its own tile, the tie's
        row decides.
        """
        offset = numbers - (self.shard.start + start)
        below = torch.nextafter(scores, scores.new_tensor(-torch.inf))
        limit = torch.where(offset >= PASSAGES, below, scores)
        ahead = torch.gt(tile, limit[:, None], out=self.ahead[: len(scores)])
        within = (offset >= 0) & (offset < PASSAGES)
        for place, targets_here in enumerate(within.sum(1).tolist()):
            if targets_here:
                equal = tile == scores[place]
                if int(equal.count_nonzero()) > targets_here:
                    before = torch.where(within[place], offset[place], 0)
                    ahead[place] |= equal & (self.row < before)
        return ahead.view(torch.int64)

    def _score(self, start: int, block: torch.Tensor) -> torch.Tensor:
        room = self.spare
        if len(self.kept) < len(self.room):
            room = self.kept[start] = self.room[len(self.kept)]
        self.shard.score(start, block, room)
        return room


def _pieces(languages: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Runs of rows of one language, (start, stop, language), short enough for a byte to count."""
    edges = [0, *(np.flatnonzero(np.diff(languages)) + 1).tolist(), len(languages)]
    for low, high in pairwise(edges):
        parts = -(-(high - low) // FULL)
        cuts = [low + (high - low) * part // parts for part in range(parts + 1)]
        for start, stop in pairwise(cuts):
            yield start, stop, int(languages[low])
