"""InfoNCE of one rank's queries against what all ranks hold, and its gradients.

One all-gather of candidates and one reduce-scatter of their gradients, whatever the number of
widths. Scoring queries against each other takes one more of each. A guide's vectors are gathered
as well.

Shapes (more in batch_layout.py):
    B  queries on this rank, each with its positive passage
    M  hard negatives on this rank
    N  candidates of all ranks, each rank padded to the largest count
    P  queries of all ranks, padded alike
    D  width of a vector
    E  width of a guide's vector
    V  widths at which vectors are scored
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_dist.losses.batch_layout import BatchLayout, ColumnLayout
from hybrid_dist.losses.options import Cut, LossOptions
from hybrid_dist.losses.streamed import (
    CrossEntropy,
    Part,
    all_gather_rows,
    reduce_scatter_rows,
    streamed_cross_entropy,
)
from hybrid_dist.losses.symmetric import symmetric_cross_entropy
from hybrid_dist.tracking.stopwatch import Stopwatch


class Guide(NamedTuple):
    """L2-normalized vectors of another model, by which false negatives are recognized."""

    queries: Tensor
    """[B, E]"""
    candidates: Tensor
    """[B + M, E]"""


@dataclass(frozen=True)
class LossSettings:
    """What the loss takes beside tensors that may have gradients."""

    layout: BatchLayout
    options: LossOptions
    guide: Guide | None
    group: dist.ProcessGroup | None
    with_gradients: bool
    stopwatch: Stopwatch

    @property
    def grad_weight(self) -> float:
        """The weight of each query's loss in W times the global mean."""
        directions = 2 if self.options.symmetric else 1
        return len(self.layout.query_counts) / self.layout.global_batch_size / directions


class RankLoss(NamedTuple):
    """The loss of this rank's queries. Gradients are empty if none were requested."""

    losses: Tensor
    """Of each query [B]: the weighted mean over the widths."""
    width_sums: Tensor
    """Sum of the queries' losses at each width [V], from the full one down."""
    full: CrossEntropy
    """Statistics at the full width."""
    grad_queries: Tensor
    """[B, D], of W times the global mean loss."""
    grad_candidates: Tensor
    """[B + M, D], the same."""
    grad_scale: Tensor
    """[1], of W times this rank's share."""


Named = dict[str, Tensor]
"""Vectors that are scored, or their gradients: `queries` [B, D] and `all_candidates` [N, D], and
if the options need them, `passages` [B, D] and `all_queries` [P, D]."""


def loss_and_gradients(
    queries: Tensor, candidates: Tensor, scale: Tensor, settings: LossSettings
) -> RankLoss:
    """The loss of this rank's queries [B, D] among the candidates of all ranks, scale [1]."""
    layout, group, guide = settings.layout, settings.group, settings.guide
    with settings.stopwatch("gather"):
        vectors = _gather(queries, candidates, settings)
        of_guide = None if guide is None else _gather(guide.queries, guide.candidates, settings)
    with settings.stopwatch("loss"):
        losses, width_sums, full, gradients, grad_scale = _at_all_widths(
            vectors, of_guide, scale, settings
        )
    if not settings.with_gradients:
        empty = queries.new_empty(0)
        return RankLoss(losses, width_sums, full, empty, empty, grad_scale)
    grad_queries = gradients["queries"]
    with settings.stopwatch("gather"):
        grad_candidates = reduce_scatter_rows(
            gradients["all_candidates"], layout.candidate_counts, layout.rank, group
        )
        if "all_queries" in gradients:
            grad_queries += reduce_scatter_rows(
                gradients["all_queries"], layout.query_counts, layout.rank, group
            )
    if "passages" in gradients:
        grad_candidates[: len(queries)] += gradients["passages"]
    return RankLoss(losses, width_sums, full, grad_queries, grad_candidates, grad_scale)


def _gather(queries: Tensor, candidates: Tensor, settings: LossSettings) -> Named:
    """What is scored, of the vectors of this rank [B, D] and [B + M, D]."""
    layout, options, group = settings.layout, settings.options, settings.group
    vectors = {
        "queries": queries,
        "all_candidates": all_gather_rows(candidates, layout.candidate_counts, group),
    }
    if options.query_negatives:
        vectors["all_queries"] = all_gather_rows(queries, layout.query_counts, group)
    if options.passage_negatives:
        vectors["passages"] = candidates[: len(queries)]
    return vectors


def _at_all_widths(
    vectors: Named, guide: Named | None, scale: Tensor, settings: LossSettings
) -> tuple[Tensor, Tensor, CrossEntropy, Named, Tensor]:
    """Losses [B], their sums at each width [V], statistics at the full width, and the gradients of
    the vectors and of the scale [1]."""
    (_, weight), *narrower = settings.options.widths(vectors["queries"].shape[1])
    gradients = _zeros_like(vectors, settings)
    full = _cross_entropy(vectors, gradients, guide, scale, weight, settings)
    losses, sums = weight * full.losses, [full.losses.sum()]
    grad_scale = _grad_scale(vectors, gradients, scale)
    for width, weight in narrower:
        cuts = {name: Cut(whole, width) for name, whole in vectors.items()}
        cut_vectors = {name: cut.vectors for name, cut in cuts.items()}
        of_cuts = _zeros_like(cut_vectors, settings)
        result = _cross_entropy(cut_vectors, of_cuts, guide, scale, weight, settings)
        losses += weight * result.losses
        sums.append(result.losses.sum())
        grad_scale += _grad_scale(cut_vectors, of_cuts, scale)
        for name, gradient in of_cuts.items():
            cuts[name].add_gradient(gradients[name], gradient)
    return losses, torch.stack(sums), full, gradients, grad_scale


def _grad_scale(vectors: Named, gradients: Named, scale: Tensor) -> Tensor:
    """The gradient of the scale [1]: scale * d loss / d scale = sum(rows * d loss / d rows), since
    logits are bilinear in the two."""
    rows = [name for name in ("queries", "passages") if name in gradients]
    total = scale.new_zeros(1)
    for name in rows:
        total += (vectors[name] * gradients[name]).sum() / scale
    return total


def _zeros_like(vectors: Named, settings: LossSettings) -> Named:
    """Where gradients are summed; empty if none are computed."""
    if not settings.with_gradients:
        return {}
    return {name: torch.zeros_like(part) for name, part in vectors.items()}


def _cross_entropy(
    vectors: Named,
    gradients: Named,
    guide: Named | None,
    scale: Tensor,
    weight: float,
    settings: LossSettings,
) -> CrossEntropy:
    """The loss of vectors of one width. Adds `weight` times its gradients to `gradients`."""
    layout, options = settings.layout, settings.options

    def part(rows: str, columns: str, of: ColumnLayout, excluded: Tensor | None = None) -> Part:
        return Part(
            vectors[rows],
            vectors[columns],
            of,
            gradients.get(rows),
            gradients.get(columns),
            None if guide is None else (guide[rows], guide[columns]),
            excluded,
        )

    device = vectors["queries"].device
    of_candidates = layout.candidate_columns().to(device)
    main = part("queries", "all_candidates", of_candidates)
    grad_weight = weight * settings.grad_weight if settings.with_gradients else None
    if options.symmetric:
        world = len(layout.query_counts)
        result = symmetric_cross_entropy(main, scale, options, grad_weight, world, settings.group)
        return result._replace(losses=result.losses / 2)
    others = []
    if options.query_negatives:
        others.append(part("queries", "all_queries", layout.query_columns().to(device)))
    if options.passage_negatives:
        no_passage = None if of_candidates.is_passage is None else ~of_candidates.is_passage
        others.append(part("passages", "all_candidates", of_candidates, no_passage))
    return streamed_cross_entropy(main, scale, options, grad_weight, others)
