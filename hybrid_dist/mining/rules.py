"""Which passages of a ranking become hard negatives: window, filters, sampling.

Shapes: B queries, K passages of a ranking, W = last - first + 1 candidates, N negatives at most.

    numbers, scores [B, K]   a ranking: passage numbers, best first, and their scores
    Window [B, W]            its candidates; NO_PASSAGE where there are fewer
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hybrid_dist.batching.randomness import key, keyed_hash
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.search import NO_PASSAGE

Sample = Literal["random", "top"]


@dataclass(frozen=True)
class Rules:
    """The options that decide which passages are chosen; messages name the command's flags."""

    first: int = 10
    """The first rank of the window, counted from 1 and without passages known to be relevant."""
    last: int = 200
    number: int = 4
    """Negatives of a query, at most."""
    sample: Sample = "random"
    seed: int = 1
    relative: float | None = None
    """Keep candidates that score at most this share of the positive's score."""
    absolute: float | None = None
    """Keep candidates that score at least this much below the positive."""

    def __post_init__(self) -> None:
        if self.first < 1:
            raise UserError(f"--from {self.first}: ranks start at 1; give 1 or more")
        if self.first > self.last:
            raise UserError(
                f"--from {self.first} is above --to {self.last}; give a window such as "
                "--from 10 --to 200"
            )
        if self.number < 1:
            raise UserError(f"--number {self.number}: give 1 or more negatives of a query")
        if self.number > self.width:
            raise UserError(
                f"--number {self.number}: the window --from {self.first} --to {self.last} has "
                f"{self.width:,} ranks; widen it, or give --number {self.width} or less"
            )
        if self.relative is not None and not 0 < self.relative <= 1:
            raise UserError(
                f"--relative {self.relative}: is no share of the positive's score; give a number "
                "above 0 and up to 1, such as 0.95"
            )
        if self.absolute is not None and not 0 <= self.absolute < math.inf:
            raise UserError(
                f"--absolute {self.absolute}: is no margin below the positive's score; give 0 or "
                "more, such as 0.05"
            )

    @property
    def width(self) -> int:
        """The number of ranks in the window."""
        return self.last - self.first + 1


class Window(NamedTuple):
    """The candidates of some queries, best first; column j has rank first + j."""

    numbers: np.ndarray
    """Passage numbers [B, W]; NO_PASSAGE where the pool has no more."""
    scores: np.ndarray
    """[B, W]; -inf for NO_PASSAGE."""
    relevant: np.ndarray
    """[B]: passages known to be relevant that were passed over before the window's end, the
    query's own not counted."""


def cut_window(
    numbers: np.ndarray, scores: np.ndarray, relevant: np.ndarray, own: np.ndarray, rules: Rules
) -> Window:
    """The rank window of rankings [B, K], without the `relevant` ones [B, K] of them.

    `own`: the passage of each query's row [B], one of the relevant ones.
    """
    listed = numbers != NO_PASSAGE
    candidate = listed & ~relevant
    rank = candidate.cumsum(axis=1)
    inside = candidate & (rank >= rules.first) & (rank <= rules.last)
    order = np.argsort(~inside, axis=1, kind="stable")[:, : rules.width]
    inside = np.take_along_axis(inside, order, 1)
    return Window(
        np.where(inside, np.take_along_axis(numbers, order, 1), NO_PASSAGE),
        np.where(inside, np.take_along_axis(scores, order, 1), np.float32(-np.inf)),
        (relevant & (numbers != own[:, None]) & (rank < rules.last)).sum(axis=1),
    )


def too_close(scores: np.ndarray, positives: np.ndarray, rules: Rules) -> dict[str, np.ndarray]:
    """By filter that is set: which scores [B, W] it refuses beside the positives' scores [B].

    A share of a negative score would lie above it, so the margin is a share of the magnitude.
    """
    refused = {}
    score, positive = scores.astype(np.float64), positives.astype(np.float64)[:, None]
    if rules.relative is not None:
        refused["relative"] = score > positive - (1 - rules.relative) * np.abs(positive)
    if rules.absolute is not None:
        refused["absolute"] = score > positive - rules.absolute
    return refused


class Choice(NamedTuple):
    """The negatives of some queries, concatenated; those of a query by descending score."""

    counts: np.ndarray
    """[B]"""
    numbers: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


def choose(window: Window, kept: np.ndarray, rows: np.ndarray, rules: Rules) -> Choice:
    """Up to N of the kept candidates [B, W] of the queries of these rows [B].

    Random numbers are a function of seed, row and passage, so they do not depend on which queries
    are mined together.
    """
    best_first = -window.scores
    if rules.sample == "random":
        seed = key("mining", rules.seed)
        of_rows = keyed_hash(seed, rows)[:, None]
        preferred = keyed_hash(seed, window.numbers.astype(np.uint64) ^ of_rows)
        order = np.lexsort((preferred, ~kept), axis=1)
    else:
        order = np.lexsort((window.numbers, best_first, ~kept), axis=1)
    taken = np.zeros(kept.shape, bool)
    np.put_along_axis(taken, order[:, : rules.number], True, 1)
    taken &= kept
    sorted_ = np.lexsort((window.numbers, best_first), axis=1)
    taken = np.take_along_axis(taken, sorted_, 1)
    ranks = np.broadcast_to(np.arange(rules.first, rules.last + 1), kept.shape)
    numbers, scores, ranks = (
        np.take_along_axis(values, sorted_, 1)[taken]
        for values in (window.numbers, window.scores, ranks)
    )
    return Choice(taken.sum(axis=1), numbers, scores, ranks)
