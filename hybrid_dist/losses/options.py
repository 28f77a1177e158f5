"""Options of InfoNCE: which negatives count, how much, and at which widths of the vectors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Margin:
    """Masks negatives that score too close to the row's positive passage, or above it.

    A negative is masked if its cosine is above `positive - size`, or above
    `positive - size * |positive|` for a relative margin. A negative size only masks what scores
    higher than the positive by that much.
    """

    size: float = 0.0
    is_relative: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.size):
            raise ValueError(f"margin must be finite, not {self.size}")

    def thresholds(self, positives: Tensor, scale: Tensor | float) -> Tensor:
        """The highest score that is not masked in each row [R], given the scores of the positives
        [R]. Scores are `scale` times cosines."""
        if self.is_relative:
            return positives - self.size * positives.abs()
        return positives - self.size * scale


@dataclass(frozen=True)
class LossOptions:
    """How InfoNCE is computed. The default is plain InfoNCE."""

    symmetric: bool = False
    """Also score each passage against the queries of all ranks, and take the mean of both losses.
    """
    margin: Margin | None = None
    """Masks false negatives by score; None: by id alone."""
    hardness: float = 0.0
    """Multiplies the exponential of each candidate that is a negative by exp(hardness * its
    cosine), which is not differentiated. Negatives among queries or passages weigh 1."""
    query_negatives: bool = False
    """Score each query against the other queries too, in the same softmax."""
    passage_negatives: bool = False
    """Score each positive passage against the other positive passages too, in the same softmax."""
    dims: tuple[int, ...] = ()
    """Also compute the loss of the first `dims` dimensions of the vectors, normalized again
    (Matryoshka); the loss is the weighted mean over these and the full width."""
    dim_weights: tuple[float, ...] = ()
    """Weight of each of `dims`; empty: 1 each. The full width weighs 1 unless `dims` has it."""

    def __post_init__(self) -> None:
        if not 0 <= self.hardness < math.inf:
            raise ValueError(f"hardness must be at least 0 and finite, not {self.hardness}")
        if self.symmetric and (self.query_negatives or self.passage_negatives):
            raise ValueError(
                "symmetric scores passages against queries in a softmax of their own; it cannot be "
                "combined with query_negatives or passage_negatives"
            )
        if len(set(self.dims)) < len(self.dims) or any(dim < 1 for dim in self.dims):
            raise ValueError(f"dims must be different positive numbers, not {list(self.dims)}")
        if len(self.dim_weights) not in (0, len(self.dims)):
            raise ValueError(f"{len(self.dim_weights)} dim_weights for {len(self.dims)} dims")
        if any(not 0 < weight < math.inf for weight in self.dim_weights):
            raise ValueError(
                f"dim_weights must be positive and finite, not {list(self.dim_weights)}"
            )

    def widths(self, full: int) -> list[tuple[int, float]]:
        """The widths at which vectors of width `full` are scored, from the full one down, with
        their weights, which sum to 1."""
        if wide := [dim for dim in self.dims if dim > full]:
            raise ValueError(f"dims has {wide[0]}, but vectors have {full} dimensions")
        weights = dict(zip(self.dims, self.dim_weights or (1.0,) * len(self.dims), strict=True))
        weights.setdefault(full, 1.0)
        total = sum(weights.values())
        return [(width, weights[width] / total) for width in sorted(weights, reverse=True)]


PLAIN = LossOptions()
"""Plain InfoNCE."""


class Cut:
    """The first `width` dimensions of vectors [rows, D], normalized again [rows, width]."""

    def __init__(self, vectors: Tensor, width: int) -> None:
        first = vectors[:, :width]
        self._norms = torch.linalg.vector_norm(first, dim=1, keepdim=True).clamp_min(1e-12)
        self.vectors = first / self._norms

    def add_gradient(self, total: Tensor, of_cut: Tensor) -> None:
        """Add to the gradient of the whole vectors [rows, D] what that of the cut ones
        [rows, width] contributes to it, in place."""
        along = (self.vectors * of_cut).sum(1, keepdim=True)
        total[:, : of_cut.shape[1]] += (of_cut - self.vectors * along) / self._norms
