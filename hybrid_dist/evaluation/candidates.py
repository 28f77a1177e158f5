"""The best passages of every query, chosen from tiles of scores while these are in memory.

The C best of a query lie in the C groups of consecutive rows whose best score is highest. So a
tile is reduced to the best score of each group; the groups of several tiles are compared, and only
the scores of the chosen groups are looked at. Scores and rows form integer keys, which are
distinct, so that the choice is deterministic and ties go to the smaller row. All shapes are known
to the host: nothing is read from the device.

Shapes: a window of up to W tiles [W, P, Q] (tiles.py); G rows of a group; C candidates.

    tops [W, P / G, Q]   the best score of each group
    keys [Q, C]          the best candidates so far, best first
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hybrid_dist.evaluation.tiles import Shard

GROUP = 16
"""The most rows of a group."""
GROUPS = 4
"""A window has at least this many groups for each candidate, unless groups are single rows."""
LOW_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Bounds:
    """What coarse candidates of a shard leave open, for each query."""

    beyond: np.ndarray
    """[Q]: no other passage has a higher score."""
    rounding: np.ndarray
    """[Q]: bounds the difference between a score in fp32 and the exact one."""
    needed: int
    """How many candidates a search in fp32 takes."""

    def leave_open(self, scores: np.ndarray, k: int) -> np.ndarray:
        """The queries whose best k, by exact scores [Q, C], may not be those of a search in fp32.

        They are the same if no other passage can be among them, and if no more passages are as
        good as the k-th, to within rounding, than the search in fp32 takes.
        """
        kth = np.sort(scores, axis=1)[:, -min(k, scores.shape[1])]
        limit = kth - 2 * self.rounding
        crowded = (scores >= limit[:, None]).sum(axis=1) > self.needed
        return np.flatnonzero((self.beyond >= limit) | crowded)


class Candidates:
    """The C best passages of one shard for a block of queries, by (score, row)."""

    def __init__(self, shard: Shard, count: int, window: int) -> None:
        """`window`: how many tiles are compared at once."""
        grid, device = shard.grid, shard.device
        self.shard, self.count = shard, count
        self.group = GROUP
        while self.group > 1 and window * grid.rows < GROUPS * count * self.group:
            self.group //= 2
        self.tops = torch.empty(window, grid.rows // self.group, grid.columns, device=device)
        self.first = torch.arange(0, grid.rows, self.group, device=device)
        self.place = torch.arange(self.group, device=device)
        self.column = torch.arange(grid.columns, device=device)[:, None, None]
        self.keys = torch.empty(grid.columns, 0, dtype=torch.int64, device=device)

    def clear(self) -> None:
        """Start with another block of queries."""
        self.keys = self.keys[:, :0]

    def note(self, slot: int, start: int, tile: torch.Tensor) -> None:
        """Reduce the tile in this slot of the window; overwrites the scores of padding."""
        tile[self.shard.num_rows - start :] = -torch.inf
        groups = tile.view(-1, self.group, tile.shape[1])
        torch.amax(groups, dim=1, out=self.tops[slot])

    def choose(self, window: torch.Tensor, starts: Sequence[int]) -> None:
        """Merge the best of the noted tiles [len(starts), P, Q], which start at these rows."""
        tiles, _, columns = window.shape
        starts_there = torch.tensor(starts).to(self.first.device, non_blocking=True)
        first = (starts_there[:, None] + self.first).flatten()
        tops = self.tops[:tiles].view(-1, columns)
        groups = keys_of(tops.T.contiguous(), first)
        chosen = groups.topk(min(self.count, groups.shape[1]), dim=1, sorted=False).indices
        cells = (chosen[:, :, None] * self.group + self.place) * columns + self.column
        scores = window.view(-1).index_select(0, cells.flatten()).view(columns, -1)
        chosen_rows = (first[chosen][:, :, None] + self.place).view(columns, -1)
        keys = torch.cat([self.keys, keys_of(scores, chosen_rows)], dim=1)
        self.keys = keys.topk(min(self.count, keys.shape[1]), dim=1).values

    def last(self) -> torch.Tensor:
        """[Q] on the device: the score of the last candidate."""
        return scores_of(self.keys[:, -1])

    def rows(self) -> torch.Tensor:
        """[Q, C] on the device: rows of the shard, best first."""
        return LOW_BITS - (self.keys & LOW_BITS)


def scores_of(keys: torch.Tensor) -> torch.Tensor:
    """The scores in keys."""
    high = (keys >> 32).to(torch.int32)
    return torch.where(high >= 0, high, high ^ 0x7FFFFFFF).view(torch.float32)


def keys_of(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """int64 keys ordered by score, then smaller row first; adding 0 makes -0 equal to 0."""
    bits = (scores + 0.0).view(torch.int32)
    ascending = torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).to(torch.int64)
    return (ascending << 32) | (LOW_BITS - rows)
