"""InfoNCE over the global batch: the queries of every rank against the candidates of every rank.

The gradient on W ranks equals that of one process with the whole batch. This takes two things: a
reduce-scatter brings the gradients of candidates from all ranks to the rank that encoded them, and
each rank's loss is W times its share of the global mean, since data parallelism averages gradients
over ranks. All collectives run in the forward pass; the backward pass only scales.

Shapes (more in batch_layout.py):
    W  ranks
    B  queries on this rank, each with its positive passage
    M  hard negatives on this rank
    D  width of a vector
    K  columns of ids
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.gathered_layout import gather_layout
from hybrid_dist.losses.streamed import (
    CrossEntropy,
    all_gather_rows,
    reduce_scatter_rows,
    streamed_cross_entropy,
    symmetric_cross_entropy,
)
from hybrid_dist.tracking.stopwatch import Stopwatch


class InfoNCE(nn.Module):
    """InfoNCE with in-batch negatives from all ranks, for any training loop, DDP's included.

    Each query has to find its own passage among the passages and hard negatives of all ranks in
    `group`: the default process group if None, or this process alone where torch.distributed is not
    initialized. Ranks may hold different numbers of queries and of hard negatives, none included.
    `symmetric` averages this loss with that of finding each passage's query among all queries.

    The loss of the global batch is the mean over the G queries of all W ranks. Each rank returns
    W / G times the sum of the losses of its own queries: zero on a rank without queries, which has
    to call forward and backward all the same. The mean over ranks of the returned values is the
    loss of the global batch. Backward gives each rank's vectors the gradient of W times the global
    loss, contributions of other ranks' queries included. So the mean over ranks of the gradients of
    the weights, which is what DDP computes, is the gradient of the global loss: do not scale by the
    world size again. If DDP spans several groups of equal size, it averages the groups' losses.

    Vectors are used as they are: normalize them if the logits should be cosines. The arithmetic is
    float32, or float64 for float64 vectors, also under autocast. At most 512 rows of logits are
    held at once.
    """

    def __init__(
        self,
        temperature: float = 0.05,
        symmetric: bool = False,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, not {temperature}")
        self.temperature, self.symmetric, self.group = temperature, symmetric, group

    def forward(
        self,
        queries: Tensor,
        passages: Tensor,
        negatives: Tensor | None = None,
        ids: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar, of queries [B, D] and their positive passages [B, D].

        All ranks of the group have to call it together. `negatives` [M, D] are hard negatives for
        all queries. `ids` are integers that mark false negatives: two pairs are not negatives of
        each other if their ids agree in any column. They are [B] or [B, K]; with B + M rows
        instead of B, those that follow the pairs' are the ids of the hard negatives.
        """
        _check_vectors(queries, passages, negatives)
        candidates = passages if negatives is None else torch.cat([passages, negatives])
        dtype = _dtype(queries, candidates)
        layout = gather_layout(
            len(queries),
            len(candidates) - len(queries),
            _id_columns(ids, queries, candidates),
            queries.device,
            self.group,
            must_agree={
                "the width of vectors": queries.shape[1],
                "float64 arithmetic": int(dtype == torch.float64),
                "symmetric": int(self.symmetric),
                "the need of gradients": int(_needs_gradients(queries, candidates)),
            },
        )
        temperature = torch.tensor([self.temperature], dtype=dtype, device=queries.device)
        return info_nce(queries, candidates, temperature, layout, self.symmetric, self.group).loss

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, symmetric={self.symmetric}"


@dataclass(frozen=True)
class LossOutput:
    """The loss of a global batch, as this rank computes it, and statistics for meters."""

    loss: Tensor
    """Call backward on this: W times this rank's share of the global mean, as gradients are
    averaged over ranks."""
    share: Tensor
    """This rank's share of the global mean: summed over ranks, the loss of the global batch."""
    num_correct: Tensor
    """Queries of this rank whose positive passage has the highest logit."""
    num_nonfinite: Tensor
    """Vectors of this rank that hold a number that is not finite."""
    query_losses: Tensor
    """Loss of each of this rank's queries [B]."""
    similarity_sums: Tensor
    """Similarities of this rank's queries [2]: summed over their positives, and over their
    negatives. Cosines, if the vectors are normalized."""
    num_false_negatives: Tensor
    """Candidates masked as false negatives, summed over this rank's queries."""
    stopwatch: Stopwatch
    """Seconds of `gather`, which are the collectives, and of `loss`, which is the computation."""


def info_nce(
    queries: Tensor,
    candidates: Tensor,
    temperature: Tensor,
    layout: BatchLayout,
    symmetric: bool,
    group: dist.ProcessGroup | None = None,
) -> LossOutput:
    """Cross-entropy of each query's positive passage among the candidates of all ranks.

    Takes queries [B, D], candidates [B + M, D], which are the positive passages in the order of
    the queries and then the hard negatives, and temperature [1]. Symmetric: the mean of that and
    of the cross-entropy of each passage's query among all queries. The arithmetic is float32,
    or float64 for float64 vectors.
    """
    _check_layout(queries, candidates, layout)
    inputs = (queries, candidates, temperature)
    stopwatch = Stopwatch(queries.device)
    settings = _Settings(layout, symmetric, group, _needs_gradients(*inputs), stopwatch)
    loss, share, num_correct, query_losses, similarity_sums, num_false_negatives = (
        _StreamedInfoNCE.apply(*inputs, settings)
    )
    with torch.no_grad():
        num_nonfinite = sum((~part.isfinite().all(1)).sum() for part in (queries, candidates))
    return LossOutput(
        loss,
        share,
        num_correct,
        torch.as_tensor(num_nonfinite),
        query_losses,
        similarity_sums,
        num_false_negatives,
        stopwatch,
    )


@dataclass(frozen=True)
class _Settings:
    """What the loss takes beside tensors that may have gradients."""

    layout: BatchLayout
    symmetric: bool
    group: dist.ProcessGroup | None
    with_gradients: bool
    stopwatch: Stopwatch


class _StreamedInfoNCE(torch.autograd.Function):
    """Loss and gradients are computed in the forward pass; the backward pass scales the latter."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        temperature: Tensor,
        settings: _Settings,
    ) -> tuple[Tensor, ...]:
        inputs, layout = (queries, candidates, temperature), settings.layout
        with torch.autocast(queries.device.type, enabled=False):
            result, *gradients = _loss_and_gradients(*inputs, settings)
        if settings.with_gradients:
            ctx.dtypes = [part.dtype for part in inputs]
            ctx.save_for_backward(*gradients)
        share = result.losses.sum() / layout.global_batch_size
        logit_sums = torch.stack([result.positive_sum, result.negative_sum])
        similarity_sums = logit_sums * temperature.to(share.dtype)
        others = (
            share,
            result.num_correct,
            result.losses,
            similarity_sums,
            result.num_false_negatives,
        )
        ctx.mark_non_differentiable(*others)
        return share * len(layout.query_counts), *others

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        # Scale before casting: unscaled, small gradients would underflow in fp16.
        scaled = (part * upstream[0].to(part.dtype) for part in ctx.saved_tensors)
        cast = (part.to(dtype) for part, dtype in zip(scaled, ctx.dtypes, strict=True))
        return (*cast, None)


def _loss_and_gradients(
    queries: Tensor, candidates: Tensor, temperature: Tensor, settings: _Settings
) -> tuple[CrossEntropy, Tensor, Tensor, Tensor]:
    """The cross-entropy of this rank's queries, and three gradients.

    Those of this rank's queries [B, D] and candidates [B + M, D] are of W times the global mean
    loss. That of the temperature [1], which all ranks have, is of W times this rank's share.
    """
    dtype = _dtype(queries, candidates)
    queries, candidates = queries.to(dtype), candidates.to(dtype)
    layout, group, stopwatch = settings.layout, settings.group, settings.stopwatch
    world = len(layout.query_counts)
    directions = 2 if settings.symmetric else 1
    grad_weight = None
    if settings.with_gradients:
        grad_weight = world / layout.global_batch_size / directions
    scale = 1 / temperature.to(dtype)
    with stopwatch("gather"):
        all_candidates = all_gather_rows(candidates, layout.candidate_counts, group)
    with stopwatch("loss"):
        inputs = queries, all_candidates, scale, layout.candidate_columns().to(queries.device)
        if settings.symmetric:
            result = symmetric_cross_entropy(*inputs, grad_weight, world, group)
            result = result._replace(losses=result.losses / 2)
        else:
            result = streamed_cross_entropy(*inputs, grad_weight)
    with stopwatch("gather"):
        grad_candidates = reduce_scatter_rows(
            result.grad_columns, layout.candidate_counts, layout.rank, group
        )
    # d loss / d temperature = d loss / d scale * -scale^2
    grad_temperature = -result.grad_scale * scale * scale
    return result, result.grad_rows, grad_candidates, grad_temperature


def _dtype(*vectors: Tensor) -> torch.dtype:
    """What the loss is computed in."""
    double = any(part.dtype == torch.float64 for part in vectors)
    return torch.float64 if double else torch.float32


def _needs_gradients(*inputs: Tensor) -> bool:
    return torch.is_grad_enabled() and any(part.requires_grad for part in inputs)


def _check_layout(queries: Tensor, candidates: Tensor, layout: BatchLayout) -> None:
    expected = (layout.query_counts[layout.rank], layout.candidate_counts[layout.rank])
    if (len(queries), len(candidates)) != expected:
        raise ValueError(
            f"{len(queries)} queries and {len(candidates)} candidates, but the batch layout has "
            f"{expected[0]} and {expected[1]} on this rank"
        )


def _check_vectors(queries: Tensor, passages: Tensor, negatives: Tensor | None) -> None:
    if queries.ndim != 2 or queries.shape != passages.shape:
        raise ValueError(
            "queries and passages must be matrices of one shape, not "
            f"{list(queries.shape)} and {list(passages.shape)}"
        )
    if negatives is not None and (negatives.ndim != 2 or negatives.shape[1] != queries.shape[1]):
        raise ValueError(
            f"negatives must be a matrix of width {queries.shape[1]}, not {list(negatives.shape)}"
        )


def _id_columns(ids: Tensor | None, queries: Tensor, candidates: Tensor) -> Tensor | None:
    """Ids as int64 [B or B + M, K] on the device of the vectors."""
    if ids is None:
        return None
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(f"ids must be integers, not {ids.dtype}")
    columns = ids[:, None] if ids.ndim == 1 else ids
    if columns.ndim != 2 or not columns.shape[1]:
        raise ValueError(f"ids must be [rows] or [rows, k], not {list(ids.shape)}")
    if len(columns) not in (len(queries), len(candidates)):
        raise ValueError(
            f"{len(columns)} rows of ids for {len(queries)} pairs and "
            f"{len(candidates) - len(queries)} hard negatives: give ids to the pairs, or to both"
        )
    return columns.to(queries.device, torch.int64)
