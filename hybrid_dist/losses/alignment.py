"""Alignment: texts and their translations are pulled together, as vectors or as rankings.

A rank encodes the translations of its own texts, so that both vectors of a pair are on one rank.

Shapes (more in auxiliary.py):
    P  translations on this rank
    R  rows of a block
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid_dist.losses.auxiliary import AuxiliaryLoss, Pool
from hybrid_dist.losses.gradients import with_gradients
from hybrid_dist.losses.streamed import BLOCK_ROWS
from hybrid_dist.tracking.stopwatch import Stopwatch


@dataclass(frozen=True)
class Translations:
    """What the translations on this rank belong to."""

    originals: Tensor
    """The text that each translates [P], as a position among this rank's queries and passages:
    passage i is B + i."""
    total: int
    """Translations on all ranks."""

    def pinned(self) -> "Translations":
        """The same in pinned memory."""
        return replace(self, originals=self.originals.pin_memory())

    def to(self, device: torch.device) -> "Translations":
        """The same on a device. The host does not wait for pinned ones."""
        return replace(self, originals=self.originals.to(device, non_blocking=True))


def align_vectors(
    queries: Tensor,
    candidates: Tensor,
    vectors: Tensor,
    translations: Translations,
    kind: str,
    world: int,
) -> AuxiliaryLoss:
    """The mean distance of all translations' vectors [P, D] from those of their originals.

    Takes queries [B, D] and candidates [B + M, D]. The distance is 1 - cosine or, for `mse`, the
    mean of the squared differences; vectors are normalized.
    """
    stopwatch = Stopwatch(queries.device)
    with stopwatch("loss"):
        originals = torch.cat([queries, candidates]).index_select(0, translations.originals)
        if kind == "cosine":
            distances = 1 - (originals * vectors).sum(1)
        else:
            distances = (originals - vectors).square().mean(1)
        share = distances.sum() / translations.total
    return AuxiliaryLoss(share * world, share.detach(), stopwatch)


def align_rankings(
    queries: Tensor,
    candidates: Tensor,
    vectors: Tensor,
    translations: Translations,
    temperature: float,
    pool: Pool,
) -> AuxiliaryLoss:
    """The mean Jensen-Shannon divergence of the rankings of queries and of their translations.

    A ranking is the softmax over the pool, the candidates of all ranks, of the scores of a vector
    divided by `temperature`. Takes queries [B, D], this rank's candidates [B + M, D], and the
    vectors [P, D] of translations, all of them of queries.
    """
    stopwatch, world = Stopwatch(queries.device), len(pool.layout.query_counts)
    originals = queries.index_select(0, translations.originals)
    with torch.no_grad(), stopwatch("loss"):
        grad_weight = world / translations.total / temperature
        total, *grad_rows, grad_columns = streamed_jensen_shannon(
            originals, vectors, pool, temperature, grad_weight
        )
        share = total / translations.total
    with stopwatch("gather"):
        grad_candidates = pool.scatter(grad_columns)
    gradients = (*grad_rows, grad_candidates)
    loss = with_gradients(share * world, gradients, originals, vectors, candidates)
    return AuxiliaryLoss(loss, share, stopwatch)


def streamed_jensen_shannon(
    one: Tensor, other: Tensor, pool: Pool, temperature: float, grad_weight: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sum of the divergences of rows that belong together [P, D], and the gradients of one
    [P, D], of the other [P, D] and of the pool's columns [N, D], multiplied by `grad_weight` and by
    the temperature.

    With m the mean of the distributions p and q, the divergence is the mean of KL(p, m) and
    KL(q, m), and its derivative by a score of p is p * (log(p / m) - KL(p, m)) / 2.
    """
    rows = BLOCK_ROWS // 4  # about eight blocks are held
    total, grad_columns = one.new_zeros(()), torch.zeros_like(pool.columns)
    gradients = torch.empty_like(one), torch.empty_like(other)
    for start in range(0, len(one), rows):
        where = slice(start, start + rows)
        sides = one[where], other[where]
        logs = [pool.log_shares(side, temperature) for side in sides]
        log_mean = torch.logaddexp(*logs) - math.log(2)
        for side, log_share, gradient in zip(sides, logs, gradients, strict=True):
            shares, ratios = log_share.exp(), log_share - log_mean
            divergences = (shares * ratios).sum(1, keepdim=True)
            total += divergences.sum() / 2
            coefficients = shares * (ratios - divergences) * (grad_weight / 2)
            gradient[where] = coefficients @ pool.columns
            grad_columns.addmm_(coefficients.T, side)
    return total, *gradients, grad_columns
