"""InfoNCE as its definition: all logits at once, in one process. The streamed one equals it.

Shapes: G queries, C candidates (the G positive passages, then hard negatives), D width, K ids.
"""

import torch
from torch import Tensor
from torch.nn import functional

from hybrid_dist.losses.gathered_loss import Guide
from hybrid_dist.losses.options import PLAIN, LossOptions


def reference_info_nce(
    queries: Tensor,
    candidates: Tensor,
    temperature: Tensor | float,
    ids: Tensor | None = None,
    options: LossOptions = PLAIN,
    guide: Guide | None = None,
) -> Tensor:
    """Loss of each query [G], given queries [G, D] and candidates [C, D]; their mean is the loss.

    The target of query i is candidate i. Symmetric: the mean of the loss of finding its passage
    among all candidates and of finding the passage's query among all queries.
    """
    losses = queries.new_zeros(len(queries))
    for width, weight in options.widths(queries.shape[1]):
        cut = queries, candidates
        if width < queries.shape[1]:
            cut = _cut(queries, width), _cut(candidates, width)
        losses = losses + weight * _at_one_width(*cut, temperature, ids, options, guide)
    return losses


def _at_one_width(
    queries: Tensor,
    candidates: Tensor,
    temperature: Tensor | float,
    ids: Tensor | None,
    options: LossOptions,
    guide: Guide | None,
) -> Tensor:
    size = len(queries)
    targets = torch.arange(size, device=queries.device)
    cosines = queries @ candidates.T
    masked = masked_negatives(queries, candidates, ids, options, guide)
    weighted = cosines / temperature + options.hardness * cosines.detach()
    logits = weighted.where(~_is_target(cosines), cosines / temperature)
    logits = logits.masked_fill(masked, float("-inf"))
    others = []
    if options.query_negatives:
        of_guide = None if guide is None else Guide(guide.queries, guide.queries)
        others.append((queries, queries, of_guide))
    if options.passage_negatives:
        passages = candidates[:size]
        of_guide = None
        if guide is not None:
            of_guide = Guide(guide.candidates[:size], guide.candidates[:size])
        others.append((passages, passages, of_guide))
    thresholds = None
    if options.margin is not None:
        scores = cosines if guide is None else guide.queries @ guide.candidates.T
        thresholds = options.margin.thresholds(scores.diagonal(), 1.0)[:, None]
    for rows, columns, of_guide in others:
        cosines = rows @ columns.T
        out = _is_target(cosines)
        if ids is not None:
            out = out | false_negatives(ids[:size], size)
        if thresholds is not None:
            scores = cosines if of_guide is None else of_guide.queries @ of_guide.candidates.T
            out = out | (scores > thresholds)
        logits = torch.cat([logits, (cosines / temperature).masked_fill(out, -torch.inf)], dim=1)
    losses = functional.cross_entropy(logits, targets, reduction="none")
    if options.symmetric:
        backward = functional.cross_entropy(logits[:, :size].T, targets, reduction="none")
        losses = (losses + backward) / 2
    return losses


def masked_negatives(
    queries: Tensor,
    candidates: Tensor,
    ids: Tensor | None,
    options: LossOptions,
    guide: Guide | None = None,
) -> Tensor:
    """Which candidates are no negatives of a query, by id or by score [G, C]."""
    cosines = queries @ candidates.T
    masked = torch.zeros_like(cosines, dtype=torch.bool)
    if ids is not None:
        masked = false_negatives(ids, len(queries))
    if options.margin is not None:
        scores = cosines if guide is None else guide.queries @ guide.candidates.T
        thresholds = options.margin.thresholds(scores.diagonal(), 1.0)
        masked = masked | ((scores > thresholds[:, None]) & ~_is_target(scores))
    return masked


def false_negatives(ids: Tensor, size: int) -> Tensor:
    """Candidates that share an id with a query and are not its target [G, C], given the ids of
    all candidates [C, K]; those of the first `size` are the queries' as well."""
    shared = (ids[:size, None] == ids).any(-1)
    return shared & ~torch.eye(size, len(ids), dtype=torch.bool, device=ids.device)


def _cut(vectors: Tensor, width: int) -> Tensor:
    return functional.normalize(vectors[:, :width], dim=1)


def _is_target(scores: Tensor) -> Tensor:
    return torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
