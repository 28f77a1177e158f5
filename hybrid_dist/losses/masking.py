"""Columns of logits that are left out of the softmax: padding, false negatives by id and by score.

Shapes:
    N  columns of all ranks
    R  rows of a block
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hybrid_dist.losses.batch_layout import ColumnLayout


class Masked(NamedTuple):
    """What was masked in a block of logits, without padding."""

    counts: Tensor
    """Logits masked by id, and by score [2]."""
    logits_sum: Tensor
    """The sum of those logits."""


def mask_padding_and_false_negatives(
    logits: Tensor,
    layout: ColumnLayout,
    start: int,
    targets: Tensor,
    scores: Tensor | None = None,
    thresholds: Tensor | None = None,
) -> Masked:
    """Set the logits [R, N] of padding and of false negatives to -inf, in place.

    `start` is the block's first row, `targets` are the target columns of its rows [R], which are
    never masked. Columns that share an id with a row are false negatives, and so are those whose
    `scores` [R, N], the logits themselves if None, are above the row's threshold [R].
    """
    if layout.is_padding is not None:
        logits.masked_fill_(layout.is_padding, float("-inf"))
    by_id, sum_by_id = _mask_ids(logits, layout, start, targets)
    by_score = by_id.new_zeros(())
    if thresholds is not None:
        too_close = (logits if scores is None else scores) > thresholds[:, None]
        too_close &= logits > float("-inf")  # masked already
        too_close[torch.arange(len(logits), device=logits.device), targets] = False
        by_score = too_close.sum()
        sum_by_id = sum_by_id + logits.where(too_close, 0).sum()
        logits.masked_fill_(too_close, float("-inf"))
    return Masked(torch.stack([by_id, by_score]), sum_by_id)


def _mask_ids(
    logits: Tensor, layout: ColumnLayout, start: int, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Mask false negatives by id; returns how many logits that were, and their sum.

    Only the rows that have false negatives are compared with the columns.
    """
    zero = logits.new_zeros(())
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
