"""Softmax cross-entropy and its gradients, a strip of rows at a time."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

STRIP = 512
"""Rows whose scores against all columns are held at once."""
NO_GROUP, ABSENT = -1, -2
"""Groups that are no row's: of a hard negative that answers none, of a column that is none."""


@dataclass(frozen=True)
class Columns:
    """What the columns of a walk are: which are right answers, which are none, which are alike."""

    first: int
    """Row i's right answer is column `first + i`."""
    absent: Tensor | None
    """Columns that only fill up a rank that has fewer than another."""
    groups: Tensor | None = None
    """Of each column its passage's and its question's group: columns that share one with a row are
    no negatives of it. None: no row shares any but its own."""
    row_groups: Tensor | None = None
    alike: Tensor | None = None
    """Rows that share a group with another column than their own."""

    @classmethod
    def of(
        cls, rank: int, counts: tuple[int, ...], row_groups: Tensor | None, groups: Tensor | None
    ) -> "Columns":
        """`counts` columns of each rank; groups are of this rank's rows and of all columns."""
        most = max(counts)
        first, absent = rank * most, None
        if min(counts) < most:
            absent = (torch.arange(most) >= torch.tensor(counts)[:, None]).flatten()
        if groups is None or row_groups is None:
            return cls(first, absent)
        if absent is not None:
            filled = groups.new_full((len(absent), 2), ABSENT)
            filled[~absent] = groups
            groups = filled
        alike = _alike(row_groups, groups)
        return cls(first, absent, groups, row_groups, alike) if alike.any() else cls(first, absent)


def _alike(rows: Tensor, columns: Tensor) -> Tensor:
    found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for of_rows, of_columns in zip(rows.T, columns.T, strict=True):
        values, times = of_columns.unique(return_counts=True)
        found |= times[torch.searchsorted(values, of_rows.contiguous())] > 1
    return found


class Walked(NamedTuple):
    losses: Tensor
    """Each row's cross-entropy."""
    correct: Tensor
    """Rows whose right answer scored highest."""
    right: Tensor
    """Sum of the scores of right answers."""
    wrong: Tensor
    """Sum of the scores of negatives: of all other columns that were not taken out."""
    masked: Tensor
    """How many scores were taken out, since they may be right answers too."""
    of_rows: Tensor
    """Gradients of the weighted loss; empty when none were asked for."""
    of_columns: Tensor
    of_scale: Tensor


def walk(
    rows: Tensor, everything: Tensor, scale: Tensor, columns: Columns, weight: float | None
) -> Walked:
    """Cross-entropy of `scale * rows @ everything.T`, and gradients of `weight` times its sum.

    No weight, no gradients. Holds one strip of scores.
    """
    losses, right = rows.new_empty(len(rows)), rows.new_empty(len(rows))
    correct, masked = (rows.new_zeros((), dtype=torch.long) for _ in range(2))
    # the sum of all scores takes no second walk, for they are linear; rows that fill up are zeros
    everywhere = (scale * (rows.sum(0) @ everything.sum(0))).squeeze()
    of_rows, of_columns = (
        (rows.new_empty(0), rows.new_empty(0))
        if weight is None
        else (torch.empty_like(rows), torch.zeros_like(everything))
    )
    buffer = rows.new_empty(min(STRIP, len(rows)), len(everything))
    for start in range(0, len(rows), STRIP):
        strip = rows[start : start + STRIP]
        here = torch.arange(len(strip), device=rows.device)
        own = here + columns.first + start
        scores = torch.mm(strip * scale, everything.T, out=buffer[: len(strip)])
        count, taken_out = _take_out(scores, columns, start, own)
        masked, everywhere = masked + count, everywhere - taken_out
        own_scores, highest = scores[here, own], scores.amax(1)
        powers = scores.sub_(highest[:, None]).exp_()
        total = powers.sum(1)
        right[start : start + STRIP] = own_scores
        losses[start : start + STRIP] = total.log() + highest - own_scores
        correct += (own_scores >= highest).sum()
        if weight is None:
            continue
        powers[here, own] -= total  # now: (softmax - right answer) * total
        share = weight * scale / total[:, None]
        torch.mm(powers, everything, out=of_rows[start : start + STRIP])
        of_rows[start : start + STRIP] *= share
        of_columns.addmm_(powers.T, strip * share)
    # the scores are linear in rows and scale alike, so their gradients tell the scale's
    of_scale = (rows * of_rows).sum().reshape(1) / scale if weight is not None else of_rows
    wrong = everywhere - right.sum()
    return Walked(losses, correct, right.sum(), wrong, masked, of_rows, of_columns, of_scale)


def _take_out(scores: Tensor, columns: Columns, start: int, own: Tensor) -> tuple[Tensor, Tensor]:
    """Take out of the softmax what is no column, and what may be right besides the row's own: how
    many of these, and the sum of their scores."""
    nothing = scores.new_zeros(())
    if columns.absent is not None:
        scores.masked_fill_(columns.absent.to(scores.device), float("-inf"))
    if columns.groups is None or columns.row_groups is None or columns.alike is None:
        return nothing.long(), nothing
    some = columns.alike[start : start + len(scores)].nonzero().flatten()
    passage, query = columns.row_groups[start : start + len(scores)][some].unbind(1)
    same = passage[:, None] == columns.groups[:, 0]
    same |= query[:, None] == columns.groups[:, 1]
    same[torch.arange(len(some), device=own.device), own[some]] = False
    found = scores[some]
    scores[some] = found.masked_fill(same, float("-inf"))
    return same.sum(), found.masked_fill_(~same, 0).sum()
