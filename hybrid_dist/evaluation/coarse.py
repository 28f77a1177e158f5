"""The same ranks and top passages from coarse scores: products of vectors rounded to 16 bits.

A coarse score is within a proven bound of the score in fp32 (docs/evaluation.md). So it decides
whether a passage is ahead of a target unless it lies within the bound of the target's score, which
is always computed in fp32. Pairs that it leaves undecided are scored in float64, and those that
this cannot tell apart, to within the rounding of fp32, in fp32 as without a coarse pass: the
passages of all such pairs of a block are gathered into tiles. So ranks have the same bits.

Shapes as in ranking.py; a *pair* is a target and a passage, [3, n]: slot, row of the shard, column.
"""

from typing import Literal

import numpy as np
import torch

from hybrid_dist.evaluation.candidates import Bounds
from hybrid_dist.evaluation.ranking import Scan, Targets
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Shard

Coarse = Literal["none", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BF16_ERROR = 2.0**-8 * (1 + 2.0**-7)
"""Bounds the relative error of a sum that is rounded to bf16."""
TINY = 2.0**-110
"""Bounds what underflow changes in one product."""
TINY_NORM = 2.0**-50
"""Bounds what the underflow of squares changes in a norm in fp32."""
DENSE = 256
"""A tile is scored in fp32 if its undecided pairs outnumber one in so many of its scores."""
PART = 1024
"""Pairs scored in float64 at once: one for every so many scores of a tile."""
SPARE_FACTOR = 2
"""Coarse candidates for each candidate that a search in fp32 takes."""


class CoarseScan(Scan):
    """A scan that computes most scores of one shard from vectors rounded to 16 bits."""

    may_sort = False

    def __init__(self, shard: Shard, task: Task, candidates: int, coarse: str) -> None:
        super().__init__(shard, task, SPARE_FACTOR * candidates)
        self.dtype, self.needed = DTYPES[coarse], candidates
        self.norm, self.residual = _largest_norms(shard, self.dtype)
        self.possible = torch.empty_like(self.ahead)
        self.exact = self.grid.new_tiles(1, shard.device)[0]
        own = task.passage_language[shard.start : shard.start + shard.num_rows]
        self.language = torch.from_numpy(own).to(shard.device)
        self.undecided: list[torch.Tensor] = []
        """Pairs of this block that float64 cannot tell apart."""
        self.byte = torch.arange(8, device=shard.device)
        self.bounds: list[tuple[np.ndarray, np.ndarray]] = []
        """Of the candidates of each block so far."""
        self.scores = self.pairs = 0
        """How many scores were compared with a target's, and how many of them were undecided."""

    def score_targets(self, block: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The scores [T] of the targets in this shard, in fp32, from tiles of their passages."""
        if self.candidates is not None:
            self.candidates.clear()
        scores = torch.zeros(len(targets.order), device=block.device)
        here = targets.within(self.shard.start, self.shard.num_rows)
        rows, place = np.unique(targets.passage[here] - self.shard.start, return_inverse=True)
        for low in range(0, len(rows), self.grid.rows):
            part = rows[low : low + self.grid.rows]
            self.shard.score_rows(torch.from_numpy(part), block, self.exact)
            first, last = np.searchsorted(place, [low, low + len(part)]).tolist()
            row = torch.from_numpy(place[first:last] - low).to(block.device)
            listed = slice(here.start + first, here.start + last)
            scores[listed] = self.exact[row, targets.cells[1, listed]]
        return scores

    def count_ahead(
        self, block: torch.Tensor, targets: Targets, scores: torch.Tensor
    ) -> torch.Tensor:
        """[T, L]: how many passages of this shard are ahead of each target."""
        slots = len(scores)
        counts = scores.new_zeros(slots, self.languages, scores.shape[1], dtype=torch.int64)
        slack, self.rounding = self._bounds(block)
        compared = _Compared(block, targets, scores, slack, counts)
        rounded = block.to(self.dtype)
        for tile, start in self._tiles():
            coarse_product(self.shard.tile(start).to(self.dtype), rounded, tile)
            self._count_tile(tile, start, compared)
        self._decide_in_fp32(compared)
        self.scores += len(targets.order) * self.shard.num_rows
        self._note_bounds(slack)
        slot, column, _ = targets.cells
        return counts[slot, :, column]

    def _count_tile(self, tile: torch.Tensor, start: int, compared: "_Compared") -> None:
        """Count from a tile of coarse scores; from scores in fp32 where these leave much open."""
        exact, rows = None, min(self.grid.rows, self.shard.num_rows - start)
        for low in range(0, len(compared.scores), self.grid.slots):
            part = slice(low, low + self.grid.slots)
            shape = compared.surely[part].shape
            ahead = torch.gt(tile, compared.surely[part, None], out=self.ahead[: shape[0]])
            possible = torch.gt(tile, compared.possibly[part, None], out=self.possible[: shape[0]])
            words = (ahead.view(torch.int64) ^ possible.view(torch.int64)).nonzero()
            if len(words) * DENSE > tile.numel():
                self.pairs += int(torch.count_nonzero(ahead[:, :rows] ^ possible[:, :rows]))
                if exact is None:
                    self.shard.score(start, compared.block, self.exact)
                    exact = self.exact
                number = self.row + self.shard.start + start
                ahead = compared.ahead(exact, number, part)
            else:
                self._decide(self._pairs(ahead, possible, words, rows), low, start, compared)
            for first, last, language in self.runs[start]:
                compared.counts[part, language] += self._sum(ahead[:, first:last])

    def _bounds(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[Q] each: bounds of the difference between a coarse score and that in fp32, and between
        the latter and the exact product."""
        width = len(block)
        norm, residual = (_raised(values, width) for values in _norms(block, self.dtype, 0))
        product = (norm + residual) * (self.norm + self.residual)  # of norms, rounded or not
        rounding = product * (width * 2.0**-23) + width * TINY
        sums = product * (width * 2.0**-22 + 2.0**-21) + width * TINY
        slack = residual * self.norm + (norm + residual) * self.residual + sums + rounding
        if _rounds_to_bf16(self.dtype, block.device):
            slack = slack + product * BF16_ERROR
        return _raised(slack, width), _raised(rounding, width)

    def _pairs(
        self, ahead: torch.Tensor, possible: torch.Tensor, words: torch.Tensor, rows: int
    ) -> torch.Tensor:
        """The pairs [3, n] in which booleans [S', P, Q] differ, from the words of eight booleans
        that differ, [words, 3]."""
        slot, row, word = words[words[:, 1] < rows].T
        at = slot[:, None], row[:, None], 8 * word[:, None] + self.byte
        found, byte = (ahead[at] ^ possible[at]).nonzero().T
        return torch.stack([slot[found], row[found], 8 * word[found] + byte])

    def _decide(self, near: torch.Tensor, slot: int, start: int, compared: "_Compared") -> None:
        """Count undecided pairs of a tile that are ahead, and put off those that fp32 has to
        decide; `slot` and `start` are those of the first."""
        self.pairs += near.shape[1]
        near = near + torch.tensor([[slot], [start], [0]]).to(near.device, non_blocking=True)
        near = near[:, near[1] + self.shard.start != compared.number(near)]  # the target itself
        for part in near.split(self.exact.numel() // PART, dim=1):
            passages = self.shard.gathered(part[1]).double()
            products = (passages * compared.block.T[part[2]].double()).sum(1)
            over = products - compared.limit(part).double()
            sure = over.abs() > self.rounding[part[2]]
            self._count(part, sure & (over > 0), compared)
            self.undecided.append(part[:, ~sure])

    def _decide_in_fp32(self, compared: "_Compared") -> None:
        """Count the pairs of the block that were put off."""
        if not self.undecided:
            return
        pairs = torch.cat(self.undecided, dim=1)
        self.undecided.clear()
        rows, place = torch.unique(pairs[1], return_inverse=True)
        for low in range(0, len(rows), self.grid.rows):
            part = rows[low : low + self.grid.rows]
            self.shard.score_rows(part, compared.block, self.exact)
            here = (place >= low) & (place < low + len(part))
            chosen = pairs[:, here]
            scores, limit = self.exact[place[here] - low, chosen[2]], compared.limit(chosen)
            tied = (scores == limit) & (chosen[1] + self.shard.start < compared.number(chosen))
            self._count(chosen, (scores > limit) | tied, compared)

    def _count(self, pairs: torch.Tensor, is_ahead: torch.Tensor, compared: "_Compared") -> None:
        slot, row, column = pairs
        cells = slot, self.language[row], column
        compared.counts.index_put_(cells, is_ahead.long(), accumulate=True)

    def _note_bounds(self, slack: torch.Tensor) -> None:
        """What the candidates of this block leave open."""
        if self.candidates is None:
            return
        beyond = self.candidates.last() + slack
        if self.candidates.count == self.shard.num_rows:
            beyond = torch.full_like(beyond, -torch.inf)
        self.bounds.append((beyond.cpu().numpy(), self.rounding.cpu().numpy()))

    def candidate_bounds(self, queries: int) -> Bounds | None:
        """What the candidates of all queries leave open; None if there are none."""
        if not self.bounds:
            return None
        beyond, rounding = (np.concatenate(of)[:queries] for of in zip(*self.bounds, strict=True))
        return Bounds(beyond, rounding, min(self.needed, self.shard.num_rows))


class _Compared:
    """A block of queries, its targets, and the counts of the passages ahead of them."""

    def __init__(
        self,
        block: torch.Tensor,
        targets: Targets,
        scores: torch.Tensor,
        slack: torch.Tensor,
        counts: torch.Tensor,
    ) -> None:
        self.block, self.numbers, self.scores, self.counts = block, targets.numbers, scores, counts
        self.surely, self.possibly = scores + slack, scores - slack
        """[S, Q]: coarse scores above the first are ahead of the target, and none up to the
        second is."""

    def number(self, pairs: torch.Tensor) -> torch.Tensor:
        """[n]: the passage number of the target of each pair."""
        return self.numbers[pairs[0], pairs[2]]

    def limit(self, pairs: torch.Tensor) -> torch.Tensor:
        """[n]: the score of the target of each pair."""
        return self.scores[pairs[0], pairs[2]]

    def ahead(self, tile: torch.Tensor, number: torch.Tensor, part: slice) -> torch.Tensor:
        """[S', P, Q]: which passages of a tile in fp32, of these numbers [P, 1], are ahead."""
        tied = (tile == self.scores[part, None]) & (number < self.numbers[part, None])
        return (tile > self.scores[part, None]) | tied


def coarse_product(passages: torch.Tensor, block: torch.Tensor, out: torch.Tensor) -> None:
    """Write passages [P, D] @ block [D, Q] of 16-bit vectors, summed in fp32, into fp32 `out`."""
    if passages.is_cuda:
        torch.mm(passages, block, out_dtype=torch.float32, out=out)
    elif _rounds_to_bf16(passages.dtype, passages.device):
        out.copy_(passages @ block)
    else:
        torch.mm(passages.float(), block.float(), out=out)


def _rounds_to_bf16(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether coarse scores are rounded to bf16: PyTorch has no other product of bf16 vectors on
    CPUs. Where oneDNN does not even emulate it, fp32 is as fast."""
    on_cpu = device.type == "cpu" and dtype is torch.bfloat16
    return on_cpu and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _largest_norms(shard: Shard, dtype: torch.dtype) -> tuple[float, float]:
    """Bounds the norms of a shard's passages, and of what rounding changes in each."""
    largest = torch.zeros(2, device=shard.device)
    for start in shard.tile_starts:
        norms = torch.stack(_norms(shard.tile(start), dtype, 1)).amax(1)
        largest = torch.maximum(largest, norms)
    norm, residual = _raised(largest, shard.vectors.shape[1]).tolist()
    return norm, residual


def _norms(vectors: torch.Tensor, dtype: torch.dtype, dim: int) -> tuple[torch.Tensor, ...]:
    """The norms of vectors, and of what rounding changes in each, which fp32 holds exactly."""
    return vectors.norm(dim=dim), (vectors - vectors.to(dtype).float()).norm(dim=dim)


def _raised(values: torch.Tensor, width: int) -> torch.Tensor:
    """Above the exact values, which fp32 has rounded, as norms of this width and small sums."""
    return values * (1 + (width + 16) * 2.0**-22) + TINY_NORM
