"""InfoNCE over the global batch: every question against the candidates of every rank.

The gradient on W ranks equals the gradient of one process with the whole batch. That takes two
things: each candidate's gradients come home from all ranks (a reduce-scatter), and each rank's
loss is its part of the global mean times W, because data-parallel training averages gradients.

Loss and gradients are made together, in one walk over strips of rows, so no more than a strip of
scores is ever held and the backward pass only scales.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from hybrid_dist.loss.strips import NO_GROUP, Columns, Walked, walk
from hybrid_dist.tracking.stopwatch import Stopwatch

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
    negatives: tuple[int, ...] = ()
    """Hard negatives of every rank, for all questions; they follow the rank's passages."""
    negative_groups: Tensor | None = None
    """Of every hard negative its passage's group, or -1: rows of that group may be answered by it.
    None keeps false negatives."""

    @property
    def size(self) -> int:
        return sum(self.counts)

    @property
    def first(self) -> int:
        """Where this rank's rows begin among all."""
        return sum(self.counts[: self.rank])

    def own(self, device: torch.device) -> Tensor:
        """Where this rank's rows stand among all."""
        return torch.arange(self.first, self.first + self.counts[self.rank], device=device)

    @property
    def candidate_counts(self) -> tuple[int, ...]:
        """Candidates of every rank: its passages, then its hard negatives."""
        negatives = self.negatives or (0,) * len(self.counts)
        return tuple(n + m for n, m in zip(self.counts, negatives, strict=True))

    def candidate_groups(self) -> Tensor | None:
        """Groups of all candidates [candidates, 2]; a hard negative has no question."""
        if self.groups is None or not any(self.negatives):
            return self.groups
        passages = self.groups.split(list(self.counts))
        if self.negative_groups is None:
            passage_groups = self.groups.new_full((sum(self.negatives),), NO_GROUP)
        else:
            passage_groups = self.negative_groups
        negatives = functional.pad(passage_groups[:, None], (0, 1), value=NO_GROUP)
        parts = zip(passages, negatives.split(list(self.negatives)), strict=True)
        return torch.cat([part for pair in parts for part in pair])


@dataclass(frozen=True)
class LossParts:
    loss: Tensor
    """What to call backward on: already scaled for the average over ranks."""
    value: Tensor
    """This rank's part of the global mean loss: the sum over ranks is the loss."""
    correct: Tensor
    """Questions of this rank whose own passage scored highest."""
    broken: Tensor
    """Vectors of this rank with a number that is not finite."""
    of_rows: Tensor
    """The loss of each of this rank's rows; the loss is their mean over the global batch."""
    similarities: Tensor
    """Cosines, summed: of this rank's questions and their own passages, and of its questions and
    all their negatives."""
    masked: Tensor
    """Candidates of this rank's questions that were no negatives, since they may be right too."""
    seconds: Stopwatch
    """`gather`: vectors sent and gradients brought home; `loss`: all that is computed."""


def contrastive_loss(
    queries: Tensor, candidates: Tensor, temperature: Tensor, rows: Rows, symmetric: bool
) -> LossParts:
    """Cross-entropy of each row's own passage among all candidates of all ranks.

    `candidates` are this rank's passages in the order of its questions, then its hard negatives.
    Symmetric: the mean of that and of each passage's own question among all questions. Arithmetic
    is fp32 (or float64, if given that) whatever the vectors' type.
    """
    _check(queries, candidates, rows)
    inputs = (queries, candidates, temperature)
    with_gradients = torch.is_grad_enabled() and any(part.requires_grad for part in inputs)
    seconds = Stopwatch(queries.device)
    loss, *parts = _Contrastive.apply(*inputs, rows, symmetric, with_gradients, seconds)
    value, correct, of_rows, similarities, masked = parts
    with torch.no_grad():
        broken = sum((~part.isfinite().all(1)).sum() for part in (queries, candidates))
    return LossParts(
        loss, value, correct, torch.as_tensor(broken), of_rows, similarities, masked, seconds
    )


def _check(queries: Tensor, candidates: Tensor, rows: Rows) -> None:
    told = (rows.counts[rows.rank], rows.candidate_counts[rows.rank])
    if (len(queries), len(candidates)) != told:
        raise ValueError(
            f"{len(queries)} questions and {len(candidates)} candidates, but the rows told of "
            f"{told[0]} and {told[1]}"
        )


class _Contrastive(torch.autograd.Function):
    """Everything in forward: gather, walk, bring gradients home. Backward scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        temperature: Tensor,
        rows: Rows,
        symmetric: bool,
        with_gradients: bool,
        seconds: Stopwatch,
    ) -> tuple[Tensor, ...]:
        given = (queries, candidates, temperature)
        with torch.autocast(queries.device.type, enabled=False):
            made = _walk_all(*given, rows, symmetric, with_gradients, seconds)
        found, gradients = made[0], made[1:]
        if with_gradients:
            ctx.kinds = [part.dtype for part in given]
            ctx.save_for_backward(*gradients)
        value = found.losses.sum() / rows.size
        similarities = torch.stack([found.right, found.wrong]) * temperature.to(value.dtype)
        told = (value, found.correct, found.losses, similarities, found.masked)
        ctx.mark_non_differentiable(*told)
        return value * len(rows.counts), *told

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        # fp16 takes the gradients only once they are scaled: before, small ones would be zero
        scaled = (part * upstream[0].to(part.dtype) for part in ctx.saved_tensors)
        cast = (part.to(kind) for part, kind in zip(scaled, ctx.kinds, strict=True))
        return (*cast, None, None, None, None)


def _walk_all(
    queries: Tensor,
    candidates: Tensor,
    temperature: Tensor,
    rows: Rows,
    symmetric: bool,
    with_gradients: bool,
    seconds: Stopwatch,
) -> tuple[Walked, Tensor, Tensor, Tensor]:
    """What the walks found, and gradients of questions, candidates and temperature."""
    double = torch.float64 in (queries.dtype, candidates.dtype)
    wide = torch.float64 if double else torch.float32
    queries, candidates = queries.to(wide), candidates.to(wide)
    own = len(queries)
    # of this rank's part of the global mean, times the ranks that it is averaged over
    weight = len(rows.counts) / rows.size / (2 if symmetric else 1) if with_gradients else None
    scale = 1 / temperature.to(wide)

    counts = rows.candidate_counts
    mine = None if rows.groups is None else rows.groups[rows.first : rows.first + own]

    def against(ours: Tensor, theirs: Tensor, of: tuple[int, ...], groups: Tensor | None) -> Walked:
        with seconds("gather"):
            everything = _gathered(theirs, of)
        with seconds("loss"):
            return walk(ours, everything, scale, Columns.of(rows.rank, of, mine, groups), weight)

    def brought_home(everything: Tensor, of: tuple[int, ...]) -> Tensor:
        with seconds("gather"):
            return _brought_home(everything, of, rows.rank)

    found = against(queries, candidates, counts, rows.candidate_groups())
    of_queries, of_scale = found.of_rows, found.of_scale
    of_candidates = brought_home(found.of_columns, counts)
    if symmetric:
        back = against(candidates[:own], queries, rows.counts, rows.groups)
        found = found._replace(losses=(found.losses + back.losses) / 2)
        if weight is not None:
            of_queries += brought_home(back.of_columns, rows.counts)
            of_candidates[:own] += back.of_rows
            of_scale = of_scale + back.of_scale
    # d loss / d temperature = d loss / d scale * -scale^2
    return found, of_queries, of_candidates, -of_scale * scale * scale


def _gathered(local: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Rows of all ranks, rank after rank, each rank's padded to the most that any has."""
    if len(counts) == 1:
        return local
    most = max(counts)
    everything = local.new_empty(most * len(counts), local.shape[1])
    _all_gather(everything, functional.pad(local, (0, 0, 0, most - len(local))).contiguous())
    return everything


def _brought_home(everything: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
    """This rank's rows of the sum over ranks: what `_gathered` does, backwards."""
    if len(counts) == 1 or not len(everything):
        return everything
    local = everything.new_empty(max(counts), everything.shape[1])
    _reduce_scatter(local, everything)
    return local[: counts[rank]]
