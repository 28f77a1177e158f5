"""Exact ranks at any depth, by counting the passages ahead of each relevant one.

The rank of passage d for query q is 1 + the number of passages with a higher score, or with the
same score and a smaller passage number. Counts are kept per language of the passages ahead, so
that one scan yields the rank in the pool of each language and in the pool of all. Counts add over
shards.

Shapes: P = PASSAGES rows and Q = QUERIES columns of a tile (tiles.py); L languages; a *target* is a
(query, relevant passage) pair; T targets in a block of up to Q queries; S slots, the largest number
of targets of one query in the block.

    block [D, Q]             vectors of the block's queries
    tile [P, Q]              scores of P consecutive passages for the block
    numbers, scores [S, Q]   the targets as a table: column q holds those of the block's query q,
                             padded with number -1 and score +inf
    ahead [S', P, Q]         whether passage p is ahead of target (s, q), for S' <= SLOTS slots
    counts [S, L, Q]         passages ahead of each target, by language
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
"""Tiles of a shard (2 MiB each) kept after the first scan: the second need not compute them."""
SLOTS = 16
"""Slots that are compared with a tile at once (half a MiB each)."""
BYTE_MAX = 255
"""Rows that a byte can count: booleans are added eight at a time, as 64-bit words of bytes."""


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
    """The relevant passages of one block of queries, as a list of T and as a table [S, Q]."""

    slot: np.ndarray
    """[T]: the row of each target in the table."""
    column: np.ndarray
    """[T]: the column of its query."""
    passage: np.ndarray
    """[T]: its passage number."""
    numbers: torch.Tensor
    """[S, Q]: passage numbers, padded with -1."""

    @classmethod
    def of(cls, task: Task, block: range, device: torch.device) -> "Targets":
        starts = task.relevant_starts[block.start : block.stop + 1]
        sizes = np.diff(starts)
        column = np.repeat(np.arange(len(block)), sizes)
        slot = np.arange(len(column)) - np.repeat(starts[:-1] - starts[0], sizes)
        passage = task.relevant[starts[0] : starts[-1]]
        numbers = np.full((int(sizes.max()), QUERIES), -1, dtype=np.int64)
        numbers[slot, column] = passage
        return cls(slot, column, passage, torch.from_numpy(numbers).to(device))

    def table(self, scores: np.ndarray) -> torch.Tensor:
        """Scores [T] as a table [S, Q], padded with +inf: no passage is ahead of padding."""
        table = np.full(self.numbers.shape, np.inf, dtype=np.float32)
        table[self.slot, self.column] = scores
        return torch.from_numpy(table).to(self.numbers.device)


def exact_ranks(task: Task, queries: np.ndarray, shards: Sequence[Shard], ranks: Ranks) -> Ranking:
    """Rank all relevant passages.

    Every process passes all query vectors [queries, D] and its own shards; every process gets the
    complete ranking.
    """
    scans = [_Scan(shard, task) for shard in shards]
    in_language, pooled = [], []
    for block in query_blocks(len(queries)):
        targets = Targets.of(task, block, ranks.device)
        vectors = load_block(queries[block.start : block.stop], ranks.device)
        target_scores = np.zeros(len(targets.passage), dtype=np.float32)
        for scan in scans:
            scan.score_targets(vectors, targets, target_scores)
        scores = targets.table(ranks.sum(target_scores))
        ahead = np.zeros((len(targets.passage), len(task.languages)), dtype=np.int64)
        for scan in scans:
            ahead += scan.count_ahead(vectors, targets, scores)
        ahead = ranks.sum(ahead)
        own = task.passage_language[targets.passage]
        in_language.append(1 + ahead[np.arange(len(own)), own])
        pooled.append(1 + ahead.sum(axis=1))
    return Ranking(np.concatenate(in_language), np.concatenate(pooled))


class _Scan:
    """One shard, scanned twice per block of queries: for the targets' scores, then for counts."""

    def __init__(self, shard: Shard, task: Task) -> None:
        device = shard.vectors.device
        self.shard = shard
        self.languages = len(task.languages)
        self.kept: dict[int, torch.Tensor] = {}
        self.buffers = new_tiles(min(KEPT_TILES, len(shard.tile_starts)), device)
        self.spare = new_tiles(1, device)[0]
        self.ahead = torch.empty(SLOTS, PASSAGES, QUERIES, dtype=torch.bool, device=device)
        self.row = torch.arange(PASSAGES, device=device)[:, None]
        own = task.passage_language[shard.start : shard.start + shard.num_rows]
        self.runs = {
            start: list(_language_runs(own[start : start + PASSAGES]))
            for start in shard.tile_starts
        }

    def score_targets(self, block: torch.Tensor, targets: Targets, out: np.ndarray) -> None:
        """Write the scores of the targets whose passage is in this shard into `out` [T]."""
        self.kept.clear()
        for start in self.shard.tile_starts:
            offset = targets.passage - (self.shard.start + start)
            here = np.flatnonzero(
                (offset >= 0) & (offset < min(PASSAGES, self.shard.num_rows - start))
            )
            if len(here):
                tile = self._score(start, block)
                rows = torch.from_numpy(offset[here]).to(tile.device)
                columns = torch.from_numpy(targets.column[here]).to(tile.device)
                out[here] = tile[rows, columns].cpu().numpy()

    def count_ahead(
        self, block: torch.Tensor, targets: Targets, scores: torch.Tensor
    ) -> np.ndarray:
        """[T, L]: how many passages of this shard are ahead of each target."""
        slots = len(scores)
        counts = scores.new_zeros(slots, self.languages, QUERIES, dtype=torch.int64)
        for start in self.shard.tile_starts:
            tile = self.kept[start] if start in self.kept else self._score(start, block)
            for low in range(0, slots, SLOTS):
                part = slice(low, low + SLOTS)
                words = self._ahead(start, tile, targets.numbers[part], scores[part])
                for first, last, language in self.runs[start]:
                    sums = words[:, first:last].sum(1)
                    counts[part, language] += sums.view(torch.uint8)
        return counts.cpu().numpy()[targets.slot, :, targets.column]

    def _ahead(
        self, start: int, tile: torch.Tensor, numbers: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        """Which passages of the tile are ahead of each target: booleans [S', P, Q] as int64 words.

        A passage with the target's score is ahead if its number is smaller. In tiles before the
        target's own all ties are: `score >= target` is `score > nextafter(target, -inf)`. In tiles
        after it no tie is. Within its own tile the row decides.
        """
        offset = numbers - (self.shard.start + start)
        below = torch.nextafter(scores, scores.new_tensor(-torch.inf))
        limit = torch.where(offset >= PASSAGES, below, scores)
        ahead = torch.gt(tile, limit[:, None], out=self.ahead[: len(scores)])
        within = (offset >= 0) & (offset < PASSAGES)
        for slot, targets_here in enumerate(within.sum(1).tolist()):
            if targets_here:
                equal = tile == scores[slot]
                if int(equal.count_nonzero()) > targets_here:
                    before = torch.where(within[slot], offset[slot], 0)
                    ahead[slot] |= equal & (self.row < before)
        return ahead.view(torch.int64)

    def _score(self, start: int, block: torch.Tensor) -> torch.Tensor:
        """The scores of a tile [P, Q], kept for the second scan while there are buffers."""
        out = self.spare
        if len(self.kept) < len(self.buffers):
            out = self.kept[start] = self.buffers[len(self.kept)]
        self.shard.score(start, block, out)
        return out


def _language_runs(languages: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Runs of rows in one language, (start, stop, language), of at most BYTE_MAX rows."""
    edges = [0, *(np.flatnonzero(np.diff(languages)) + 1).tolist(), len(languages)]
    for low, high in pairwise(edges):
        parts = -(-(high - low) // BYTE_MAX)
        cuts = [low + (high - low) * part // parts for part in range(parts + 1)]
        for start, stop in pairwise(cuts):
            yield start, stop, int(languages[low])
