"""InfoNCE over the global batch: every question against the passages of every rank.

The gradient on W ranks equals the gradient of one process with the whole batch. That takes two
things: the gather's backward brings each passage's gradients home from all ranks (a
reduce-scatter), and each rank's loss is its part of the global mean times W, because data-parallel
training averages gradients over ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

# PyTorch 2.13 gave the same calls new names; older ones have only the old.
_all_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_reduce_scatter = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)


@dataclass(frozen=True)
class Rows:
    """The rows of all ranks, rank after rank, and which of them are this rank's."""

    rank: int
    counts: tuple[int, ...]
    """Rows of every rank."""
    groups: Tensor | None
    """Of every row its passage's and its question's group [size, 2]: rows equal in either are no
    negatives of each other. None keeps false negatives."""

    @property
    def size(self) -> int:
        return sum(self.counts)

    def own(self, device: torch.device) -> Tensor:
        """Where this rank's rows stand among all."""
        first = sum(self.counts[: self.rank])
        return torch.arange(first, first + self.counts[self.rank], device=device)


@dataclass(frozen=True)
class LossParts:
    loss: Tensor
    """What to call backward on: already scaled for the average over ranks."""
    value: Tensor
    """This rank's part of the global mean loss: the sum over ranks is the loss."""
    correct: Tensor
    """Questions of this rank whose own passage scored highest."""


def contrastive_loss(
    queries: Tensor, passages: Tensor, temperature: Tensor, rows: Rows, symmetric: bool
) -> LossParts:
    """Cross-entropy of each row's own passage among all; symmetric: and of its question."""
    queries, passages, own = queries.float(), passages.float(), rows.own(queries.device)
    logits = _masked(queries @ gather_rows(passages, rows).T / temperature, own, rows)
    losses = functional.cross_entropy(logits, own, reduction="sum")
    if symmetric:
        reverse = _masked(passages @ gather_rows(queries, rows).T / temperature, own, rows)
        losses = (losses + functional.cross_entropy(reverse, own, reduction="sum")) / 2
    value = losses / rows.size
    return LossParts(
        loss=value * len(rows.counts),
        value=value.detach(),
        correct=(logits.detach().argmax(1) == own).sum(),
    )


def _masked(logits: Tensor, own: Tensor, rows: Rows) -> Tensor:
    """Take out of the softmax the columns that may be right answers besides the row's own."""
    if rows.groups is None:
        return logits
    passage, query = rows.groups.unbind(1)
    same = (passage[own, None] == passage) | (query[own, None] == query)
    same[torch.arange(len(own), device=own.device), own] = False
    return logits.masked_fill(same, float("-inf"))


def gather_rows(local: Tensor, rows: Rows) -> Tensor:
    """All ranks' rows, rank after rank; gradients flow back to every rank."""
    return local if len(rows.counts) == 1 else _Gather.apply(local, rows.counts)


class _Gather(torch.autograd.Function):
    """Rows of all ranks, rank after rank. Ranks that have fewer rows are padded on the way."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.counts = counts
        most = max(counts)
        everything = local.new_empty(most * len(counts), local.shape[1])
        _all_gather(everything, _padded(local, most))
        return torch.cat([part[:n] for part, n in zip(everything.split(most), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        most, mine = max(ctx.counts), ctx.counts[dist.get_rank()]
        parts = gradients[0].split(list(ctx.counts))
        everything = torch.cat([_padded(part, most) for part in parts])
        local = everything.new_empty(most, everything.shape[1])
        _reduce_scatter(local, everything)
        return local[:mine], None


def _padded(rows: Tensor, length: int) -> Tensor:
    return functional.pad(rows, (0, 0, 0, length - len(rows))).contiguous()
