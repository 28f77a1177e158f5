"""Symmetric cross-entropy, streamed: rows are scored against columns, and columns against rows.

Two passes over the blocks of rows and four matrix products, since the sums over columns have to be
known before the gradients.

Shapes:
    W  ranks
    B  rows on this rank
    N  columns of all ranks, each rank padded to the largest count
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_dist.losses import streamed
from hybrid_dist.losses.options import LossOptions
from hybrid_dist.losses.streamed import (
    Block,
    CrossEntropy,
    Part,
    logits_of_block,
    sum_of_logits,
)


def symmetric_cross_entropy(
    part: Part,
    scale: Tensor,
    options: LossOptions,
    grad_weight: float | None,
    world: int,
    group: dist.ProcessGroup | None = None,
) -> CrossEntropy:
    """The sum of the cross-entropies over the rows and over the columns of the same logits.

    As `streamed_cross_entropy`, and those columns that are positive passages are also scored
    against the rows of all ranks. The loss of a row is its own plus that of its target's column.
    The first pass finds the log-sum-exp of rows and columns, the second computes the gradients.
    Ranks reduce two numbers for each column.
    """
    rows, layout = part.rows, part.layout
    positives, row_lse = (rows.new_empty(len(rows)) for _ in range(2))
    num_correct, num_masked = (rows.new_zeros(shape, dtype=torch.long) for shape in ((), (2,)))
    logits_sum = sum_of_logits(part, scale)
    lowest = torch.finfo(rows.dtype).min
    column_max = rows.new_full((len(part.columns),), lowest)
    column_sum = rows.new_zeros(len(part.columns))
    block_rows = max(1, min(streamed.BLOCK_ROWS // 2, len(rows)))  # two blocks are held
    buffers = rows.new_empty(2, block_rows, len(part.columns))

    def blocks() -> Iterator[tuple[Block, Tensor]]:
        for start in range(0, len(rows), block_rows):
            block = logits_of_block(part, start, buffers[0], scale, options)
            yield block, buffers[1, : len(block.logits)]

    for block, other in blocks():
        logits, highest = block.logits, block.highest
        num_correct += block.num_correct
        num_masked += block.masked.counts
        logits_sum = logits_sum - block.masked.logits_sum
        positives[block.rows] = block.target_logits
        maximum = torch.maximum(column_max, logits.amax(0))
        column_sum *= (column_max - maximum).exp_()
        column_sum += torch.sub(logits, maximum, out=other).exp_().sum(0)
        column_max = maximum
        row_lse[block.rows] = logits.sub_(highest[:, None]).exp_().sum(1).log_() + highest
    column_lse = _column_log_sum_exp(column_max, column_sum, world, group)
    if layout.is_passage is not None:
        column_lse.masked_fill_(~layout.is_passage, torch.inf)
    own = slice(layout.first_target, layout.first_target + len(rows))
    losses = row_lse + column_lse[own] - 2 * positives
    positive_sum = positives.sum()
    result = CrossEntropy(losses, num_correct, positive_sum, logits_sum - positive_sum, num_masked)
    if grad_weight is None:
        return result
    for block, other in blocks():
        # softmax over rows + softmax over columns - 2 * one_hot(target)
        torch.sub(block.logits, column_lse, out=other).exp_()
        coefficients = block.logits.sub_(row_lse[block.rows, None]).exp_().add_(other)
        coefficients[block.positions, block.targets] -= 2
        part.add_gradients(block.rows, coefficients, grad_weight * scale)
    return result


def _column_log_sum_exp(
    maximum: Tensor, total: Tensor, world: int, group: dist.ProcessGroup | None
) -> Tensor:
    """The log-sum-exp of columns [N] over the rows of all ranks, from each rank's own maximum and
    sum of exponentials."""
    if world > 1:
        highest = maximum.clone()
        dist.all_reduce(highest, dist.ReduceOp.MAX, group)
        total = total * (maximum - highest).exp_()
        dist.all_reduce(total, dist.ReduceOp.SUM, group)
        maximum = highest
    return total.log() + maximum
