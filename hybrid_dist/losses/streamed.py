"""Exact softmax cross-entropy and its gradients, streamed over blocks of rows.

No more than BLOCK_ROWS rows of logits are held at a time. Loss and gradients are computed together,
so that nothing is kept for a backward pass but the gradients themselves: in one pass over the rows,
which takes three matrix products, or in two passes and four products in the symmetric case, where
the sums over columns have to be known before the gradients.

Shapes:
    W  ranks
    B  rows on this rank: its queries
    N  columns of all ranks, each rank padded to the largest count
    D  width of a vector
    K  columns of ids
    R  rows of a block, at most BLOCK_ROWS
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from hybrid_dist.losses.batch_layout import ColumnLayout

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


class CrossEntropy(NamedTuple):
    """Cross-entropy of this rank's rows. Gradients are empty if none were requested."""

    losses: Tensor
    """Loss of each row [B]."""
    num_correct: Tensor
    """Rows whose target has the highest logit."""
    positive_sum: Tensor
    """Sum of the targets' logits."""
    negative_sum: Tensor
    """Sum of the logits of all negatives: without targets, padding and false negatives."""
    num_false_negatives: Tensor
    """Logits that were masked as false negatives."""
    grad_rows: Tensor
    """[B, D]"""
    grad_columns: Tensor
    """[N, D]: what this rank's rows contribute to the gradient of every rank's columns."""
    grad_scale: Tensor
    """[1]"""


def streamed_cross_entropy(
    rows: Tensor,
    all_columns: Tensor,
    scale: Tensor,
    layout: ColumnLayout,
    grad_weight: float | None,
) -> CrossEntropy:
    """Cross-entropy of the logits `scale * rows @ all_columns.T`.

    Takes rows [B, D], all_columns [N, D] and scale [1]. The gradients are those of `grad_weight`
    times the sum of the losses; with None, no gradients are computed.
    """
    losses, positives = rows.new_empty(len(rows)), rows.new_empty(len(rows))
    num_correct, num_masked = (rows.new_zeros((), dtype=torch.long) for _ in range(2))
    # Logits are linear in the rows, so their sum needs no second pass. Padding columns are zero.
    logits_sum = (scale * (rows.sum(0) @ all_columns.sum(0))).squeeze()
    grad_rows, grad_columns = (
        (rows.new_empty(0), rows.new_empty(0))
        if grad_weight is None
        else (torch.empty_like(rows), torch.zeros_like(all_columns))
    )
    buffer = rows.new_empty(min(BLOCK_ROWS, len(rows)), len(all_columns))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        index = torch.arange(len(block), device=rows.device)
        targets = index + layout.first_target + start
        logits = torch.mm(block * scale, all_columns.T, out=buffer[: len(block)])
        masked, masked_sum = mask_padding_and_false_negatives(logits, layout, start, targets)
        num_masked, logits_sum = num_masked + masked, logits_sum - masked_sum
        target_logits, highest = logits[index, targets], logits.amax(1)
        exponentials = logits.sub_(highest[:, None]).exp_()
        total = exponentials.sum(1)
        positives[start : start + BLOCK_ROWS] = target_logits
        losses[start : start + BLOCK_ROWS] = total.log() + highest - target_logits
        num_correct += (target_logits >= highest).sum()
        if grad_weight is None:
            continue
        # Now (softmax - one_hot(target)) * total; dividing by the total is left to row_weights,
        # which has R elements, not R * N.
        exponentials[index, targets] -= total
        row_weights = grad_weight * scale / total[:, None]
        torch.mm(exponentials, all_columns, out=grad_rows[start : start + BLOCK_ROWS])
        grad_rows[start : start + BLOCK_ROWS] *= row_weights
        grad_columns.addmm_(exponentials.T, block * row_weights)
    # scale * d loss / d scale = sum(rows * d loss / d rows), as logits are bilinear in the two
    grad_scale = (
        (rows * grad_rows).sum().reshape(1) / scale if grad_weight is not None else grad_rows
    )
    positive_sum = positives.sum()
    return CrossEntropy(
        losses,
        num_correct,
        positive_sum,
        logits_sum - positive_sum,
        num_masked,
        grad_rows,
        grad_columns,
        grad_scale,
    )


def symmetric_cross_entropy(
    rows: Tensor,
    all_columns: Tensor,
    scale: Tensor,
    layout: ColumnLayout,
    grad_weight: float | None,
    world: int,
    group: dist.ProcessGroup | None = None,
) -> CrossEntropy:
    """The sum of the cross-entropies over the rows and over the columns of the same logits.

    As `streamed_cross_entropy`, and those that are positive passages are also scored against the
    rows of all ranks. The loss of a row is its own plus that of its target's column. Two passes:
    the first finds the log-sum-exp of rows and columns, the second computes the gradients. Ranks
    reduce two numbers for each column.
    """
    block_rows = BLOCK_ROWS // 2  # two blocks are held
    losses, positives, row_lse = (rows.new_empty(len(rows)) for _ in range(3))
    num_correct, num_masked = (rows.new_zeros((), dtype=torch.long) for _ in range(2))
    logits_sum = (scale * (rows.sum(0) @ all_columns.sum(0))).squeeze()
    lowest = torch.finfo(rows.dtype).min
    column_max = rows.new_full((len(all_columns),), lowest)
    column_sum = rows.new_zeros(len(all_columns))
    buffers = rows.new_empty(2, min(block_rows, len(rows)), len(all_columns))

    def blocks() -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor, Tensor]]:
        for start in range(0, len(rows), block_rows):
            where = slice(start, min(start + block_rows, len(rows)))
            logits, other = buffers[:, : where.stop - start]
            torch.mm(rows[where] * scale, all_columns.T, out=logits)
            targets = torch.arange(start, where.stop, device=rows.device) + layout.first_target
            masked = mask_padding_and_false_negatives(logits, layout, start, targets)
            yield where, logits, other, targets, *masked

    for where, logits, other, targets, masked, masked_sum in blocks():
        num_masked, logits_sum = num_masked + masked, logits_sum - masked_sum
        index = torch.arange(len(logits), device=rows.device)
        positives[where] = logits[index, targets]
        highest = logits.amax(1)
        num_correct += (positives[where] >= highest).sum()
        maximum = torch.maximum(column_max, logits.amax(0))
        column_sum *= (column_max - maximum).exp_()
        column_sum += torch.sub(logits, maximum, out=other).exp_().sum(0)
        column_max = maximum
        row_lse[where] = logits.sub_(highest[:, None]).exp_().sum(1).log_() + highest
    column_lse = _column_log_sum_exp(column_max, column_sum, world, group)
    if layout.is_passage is not None:
        column_lse.masked_fill_(~layout.is_passage, torch.inf)
    own = slice(layout.first_target, layout.first_target + len(rows))
    losses = row_lse + column_lse[own] - 2 * positives
    positive_sum = positives.sum()
    statistics = num_correct, positive_sum, logits_sum - positive_sum, num_masked
    if grad_weight is None:
        empty = rows.new_empty(0)
        return CrossEntropy(losses, *statistics, empty, empty, empty)
    grad_rows, grad_columns = torch.empty_like(rows), torch.zeros_like(all_columns)
    for where, logits, other, targets, *_ in blocks():
        # softmax over rows + softmax over columns - 2 * one_hot(target)
        torch.sub(logits, column_lse, out=other).exp_()
        coefficients = logits.sub_(row_lse[where, None]).exp_().add_(other)
        coefficients[torch.arange(len(logits), device=rows.device), targets] -= 2
        torch.mm(coefficients, all_columns, out=grad_rows[where])
        grad_columns.addmm_(coefficients.T, rows[where] * (grad_weight * scale))
    grad_rows *= grad_weight * scale
    grad_scale = (rows * grad_rows).sum().reshape(1) / scale
    return CrossEntropy(losses, *statistics, grad_rows, grad_columns, grad_scale)


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


def mask_padding_and_false_negatives(
    logits: Tensor, layout: ColumnLayout, start: int, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Set the logits [R, N] of padding and of false negatives to -inf, in place.

    `start` is the block's first row, `targets` are the target columns of its rows [R]. Returns how
    many logits were masked as false negatives, and their sum. Only the rows that have false
    negatives are compared with the columns.
    """
    zero = logits.new_zeros(())
    if layout.is_padding is not None:
        logits.masked_fill_(layout.is_padding, float("-inf"))
    block = slice(start, start + len(logits))
    affected = layout.affected_in(block)
    if affected is None or layout.ids is None or layout.row_ids is None:
        return zero.long(), zero
    row_ids = layout.row_ids[block][affected]
    masked = row_ids[:, :1] == layout.ids[:, 0]
    for column in range(1, row_ids.shape[1]):
        masked |= row_ids[:, column, None] == layout.ids[:, column]
    masked[torch.arange(len(affected), device=logits.device), targets[affected]] = False
    values = logits[affected]
    logits[affected] = values.masked_fill(masked, float("-inf"))
    return masked.sum(), values.masked_fill_(~masked, 0).sum()
