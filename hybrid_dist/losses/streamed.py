"""Exact softmax cross-entropy and its gradients, streamed over blocks of rows.

No more than BLOCK_ROWS rows of logits are held at a time. Loss and gradients are computed together,
so that nothing is kept for a backward pass but the gradients themselves: in one pass over the rows,
which takes three matrix products. symmetric.py needs two passes.

Shapes:
    W  ranks
    B  rows on this rank: its queries
    N  columns of all ranks, each rank padded to the largest count
    D  width of a vector
    E  width of a guide's vectors
    R  rows of a block, at most BLOCK_ROWS
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from hybrid_dist.losses.batch_layout import ColumnLayout
from hybrid_dist.losses.masking import Masked, mask_padding_and_false_negatives
from hybrid_dist.losses.options import LossOptions

BLOCK_ROWS = 512
"""Rows whose logits against all columns are held at once."""

# PyTorch 2.13 renamed these two; older versions only have the old names.
_all_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_reduce_scatter = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)


def all_gather_rows(
    local: Tensor, counts: tuple[int, ...], group: dist.ProcessGroup | None = None
) -> Tensor:
    """The rows of all ranks [N, D], in rank order, from each rank's own [counts[rank], D].

    Each rank's rows are followed by zeros up to the largest count: N = W * max(counts).
    """
    if len(counts) == 1:
        return local
    largest = max(counts)
    gathered = local.new_empty(largest * len(counts), local.shape[1])
    padded = functional.pad(local, (0, 0, 0, largest - len(local))).contiguous()
    _all_gather(gathered, padded, group=group)
    return gathered


def reduce_scatter_rows(
    rows: Tensor, counts: tuple[int, ...], rank: int, group: dist.ProcessGroup | None = None
) -> Tensor:
    """This rank's rows [counts[rank], D] of the sum over ranks of `rows` [N, D].

    The transpose of `all_gather_rows`: it takes gradients of gathered rows to the ranks that own
    the rows. An empty `rows`, where no gradients were computed, is returned as it is.
    """
    if len(counts) == 1 or not len(rows):
        return rows
    local = rows.new_empty(max(counts), rows.shape[1])
    _reduce_scatter(local, rows, group=group)
    return local[: counts[rank]]


@dataclass(frozen=True)
class Part:
    """One matrix of logits: rows of this rank against columns of all ranks."""

    rows: Tensor
    """[B, D]"""
    columns: Tensor
    """[N, D]"""
    layout: ColumnLayout
    grad_rows: Tensor | None = None
    """[B, D]: gradients are added to it. None if none are computed."""
    grad_columns: Tensor | None = None
    """[N, D]: the same, of what this rank's rows contribute to every rank's columns."""
    guide: tuple[Tensor, Tensor] | None = None
    """Vectors of a guide for the rows [B, E] and the columns [N, E], whose cosines tell which
    columns are too close to a row's positive; None: those of `rows` and `columns` do."""
    excluded: Tensor | None = None
    """Columns that no row is scored against [N]."""

    def logits(self, block: slice, scale: Tensor, out: Tensor) -> Tensor:
        """Logits of a block of rows [R, N], before anything is masked, in `out`."""
        return torch.mm(self.rows[block] * scale, self.columns.T, out=out)

    def add_gradients(self, block: slice, coefficients: Tensor, weights: Tensor) -> None:
        """Add the gradients of a block of rows, given those of its logits [R, N] without the
        `weights` of its rows, [R, 1] or [1]."""
        if self.grad_rows is not None and self.grad_columns is not None:
            self.grad_rows[block] += torch.mm(coefficients, self.columns).mul_(weights)
            self.grad_columns.addmm_(coefficients.T, self.rows[block] * weights)

    def scores(self, block: slice, logits: Tensor) -> Tensor:
        """What negatives of a block are compared by [R, N]: the guide's cosines, or the logits."""
        if self.guide is None:
            return logits
        rows, columns = self.guide
        return rows[block] @ columns.T


class CrossEntropy(NamedTuple):
    """Cross-entropy of this rank's rows, and statistics of the part that holds their targets."""

    losses: Tensor
    """Loss of each row [B]."""
    num_correct: Tensor
    """Rows whose target has the highest logit."""
    positive_sum: Tensor
    """Sum of the targets' logits."""
    negative_sum: Tensor
    """Sum of the logits of all negatives: without targets, padding and false negatives."""
    num_false_negatives: Tensor
    """Logits masked as false negatives by id, and by score [2]."""


class Block(NamedTuple):
    """The logits of a block of rows, masked and weighted."""

    rows: slice
    positions: Tensor
    """0, 1, ... [R]"""
    targets: Tensor
    """Target column of each row [R]."""
    logits: Tensor
    """[R, N]"""
    target_logits: Tensor
    """[R]"""
    highest: Tensor
    """A number for each row [R] that is at least its highest logit."""
    num_correct: Tensor
    """Rows whose target has the highest logit."""
    masked: Masked
    thresholds: Tensor | None
    """Scores above which negatives of a row are masked [R]; None: none are masked by score."""


def logits_of_block(
    part: Part, start: int, buffer: Tensor, scale: Tensor, options: LossOptions
) -> Block:
    """The logits of as many rows as `buffer` [R, N] has, the first being `start`, in `buffer`."""
    rows = slice(start, min(start + len(buffer), len(part.rows)))
    logits = part.logits(rows, scale, buffer[: rows.stop - start])
    index = torch.arange(len(logits), device=logits.device)
    targets = index + part.layout.first_target + start
    scores = thresholds = None
    if options.margin is not None:
        scores = part.scores(rows, logits)
        factor = scale if part.guide is None else 1.0
        thresholds = options.margin.thresholds(scores[index, targets], factor)
    masked = mask_padding_and_false_negatives(
        logits, part.layout, start, targets, scores, thresholds
    )
    target_logits = logits[index, targets]
    if not options.hardness:
        highest = logits.amax(1)
        num_correct = (target_logits >= highest).sum()
    else:  # logits are scale * cosines; weighting the targets too does not change who is highest
        logits *= 1 + options.hardness / scale
        highest = logits.amax(1)
        num_correct = (logits[index, targets] >= highest).sum()
        logits[index, targets] = target_logits
        highest = torch.maximum(highest, target_logits)
    return Block(
        rows, index, targets, logits, target_logits, highest, num_correct, masked, thresholds
    )


def streamed_cross_entropy(
    part: Part,
    scale: Tensor,
    options: LossOptions,
    grad_weight: float | None,
    others: Sequence[Part] = (),
) -> CrossEntropy:
    """Cross-entropy of the logits `scale * rows @ columns.T` of a part, scale [1].

    The rows of `others` are the same queries, or their positive passages. Their logits are
    negatives in the same softmax, but for that of a row with itself. The gradients are those of
    `grad_weight` times the sum of the losses; with None, no gradients are computed.
    """
    rows = part.rows
    losses, positives = rows.new_empty(len(rows)), rows.new_empty(len(rows))
    num_correct, num_masked = (rows.new_zeros(shape, dtype=torch.long) for shape in ((), (2,)))
    logits_sum = sum_of_logits(part, scale)
    parts = [part, *others]
    block_rows = min(BLOCK_ROWS, len(rows))
    buffers = [rows.new_empty(block_rows, len(each.columns)) for each in parts]
    for start in range(0, len(rows), BLOCK_ROWS):
        block = logits_of_block(part, start, buffers[0], scale, options)
        num_correct += block.num_correct
        num_masked += block.masked.counts
        logits_sum = logits_sum - block.masked.logits_sum
        all_logits, highest = [block.logits], block.highest
        for other, buffer in zip(others, buffers[1:], strict=True):
            all_logits.append(_negatives(other, block, scale, buffer))
            highest = torch.maximum(highest, all_logits[-1].amax(1))
        exponentials = [logits.sub_(highest[:, None]).exp_() for logits in all_logits]
        total = torch.stack([each.sum(1) for each in exponentials]).sum(0)
        positives[block.rows] = block.target_logits
        losses[block.rows] = total.log() + highest - block.target_logits
        if grad_weight is None:
            continue
        # Now (softmax - one_hot(target)) * total; dividing by the total is left to row_weights,
        # which has R elements, not R * N.
        exponentials[0][block.positions, block.targets] -= total
        row_weights = grad_weight * scale / total[:, None]
        for each, weights in zip(parts, exponentials, strict=True):
            each.add_gradients(block.rows, weights, row_weights)
    positive_sum = positives.sum()
    return CrossEntropy(
        losses,
        num_correct,
        positive_sum,
        logits_sum - positive_sum,
        num_masked,
    )


def _negatives(part: Part, block: Block, scale: Tensor, buffer: Tensor) -> Tensor:
    """The logits of a part that holds negatives only, for the rows of a block [R, N]."""
    logits = part.logits(block.rows, scale, buffer[: len(block.positions)])
    scores = None if block.thresholds is None else part.scores(block.rows, logits)
    own = block.positions + part.layout.first_target + block.rows.start
    mask_padding_and_false_negatives(
        logits, part.layout, block.rows.start, own, scores, block.thresholds
    )
    logits[block.positions, own] = float("-inf")
    if part.excluded is not None:
        logits.masked_fill_(part.excluded, float("-inf"))
    return logits


def sum_of_logits(part: Part, scale: Tensor) -> Tensor:
    """The sum of all logits of a part, which are linear in its rows: it takes no pass over them.
    Padding columns are zero."""
    return (scale * (part.rows.sum(0) @ part.columns.sum(0))).squeeze()
