"""What the losses beside the contrastive one share.

As in infonce.py, a rank's loss is W times its share of the global mean, since data parallelism
averages gradients over ranks, and the gradient on W ranks equals that of one process.

Shapes (more in batch_layout.py):
    W  ranks
    B  queries on this rank, each with its positive passage
    M  hard negatives on this rank
    N  candidates of all ranks, each rank padded to the largest count
    D  width of a vector
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.streamed import all_gather_rows, reduce_scatter_rows
from hybrid_dist.tracking.stopwatch import Stopwatch


class AuxiliaryLoss(NamedTuple):
    """A loss beside the contrastive one."""

    loss: Tensor
    """Call backward on this: W times this rank's share, as gradients are averaged over ranks."""
    share: Tensor
    """This rank's share of the global mean."""
    stopwatch: Stopwatch
    """Seconds of `gather`, which are the collectives, and of `loss`, which is the computation."""


@dataclass(frozen=True)
class Pool:
    """The candidates of all ranks, against which queries are scored."""

    columns: Tensor
    """Vectors [N, D]; padding columns are zero."""
    is_padding: Tensor | None
    """Columns that pad a rank to the largest count [N]; None if no rank needs padding."""
    layout: BatchLayout

    @classmethod
    def gather(cls, candidates: Tensor, layout: BatchLayout) -> "Pool":
        """From each rank's own [B + M, D]. All ranks call it together."""
        columns = all_gather_rows(candidates.detach(), layout.candidate_counts)
        is_padding = layout.candidate_columns().is_padding
        return cls(columns, None if is_padding is None else is_padding.to(columns.device), layout)

    def scatter(self, gradients: Tensor) -> Tensor:
        """This rank's part [B + M, D] of the sum over ranks of gradients of the columns [N, D]."""
        return reduce_scatter_rows(gradients, self.layout.candidate_counts, self.layout.rank)

    def log_shares(self, rows: Tensor, temperature: float) -> Tensor:
        """The log-softmax over the candidates of some rows' scores [R, N]."""
        scores = (rows / temperature) @ self.columns.T
        if self.is_padding is not None:  # finite, so that differences of padding are not NaN
            scores.masked_fill_(self.is_padding, torch.finfo(scores.dtype).min)
        return scores.log_softmax(1)
