"""Bitext mining: which sentences of two corpora are translations, and F1 by a tuned threshold.

Each sentence proposes the one of its nearest neighbours with the highest margin: its cosine
similarity over, or minus, the mean of those to the neighbours of both (Artetxe and Schwenk 2019,
arXiv 1811.01136). Of all proposals, best first, a sentence keeps one. The threshold that gives the
highest F1 on one split is applied to another.

Shapes: X and Y sentences of the two corpora; K neighbours; C candidates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hybrid_dist.data.sources.bucc import Corpora
from hybrid_dist.data.sources.collecting import Placed
from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.task_vectors import Embedder
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.runtime.ranks import Ranks

Margin = Literal["ratio", "distance", "cosine"]
"""How a similarity is compared with those of the neighbours; cosine: not at all."""
NEIGHBOURS = 4


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be translations, best first; a sentence is in one pair at most."""

    pairs: np.ndarray
    """[C, 2]: rows of the two corpora."""
    scores: np.ndarray
    """[C], descending."""


@dataclass(frozen=True)
class Mined:
    """Pairs above a threshold, compared with those that are known."""

    threshold: float
    found: int
    correct: int
    gold: int

    @property
    def precision(self) -> float:
        return self.correct / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.found + self.gold) if self.found + self.gold else 0.0


def candidates(
    one: np.ndarray, other: np.ndarray, ranks: Ranks, margin: Margin, neighbours: int = NEIGHBOURS
) -> Candidates:
    """The candidates of two corpora with vectors [X, D] and [Y, D] of norm 1."""
    forward, forward_scores = _nearest(one, other, neighbours, ranks)
    backward, backward_scores = _nearest(other, one, neighbours, ranks)
    mean, other_mean = forward_scores.mean(axis=1), backward_scores.mean(axis=1)

    def best(
        near: np.ndarray, scores: np.ndarray, own: np.ndarray, of_near: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        margins = _margin(scores, (own[:, None] + of_near[near]) / 2, margin)
        chosen = margins.argmax(axis=1)[:, None]
        take = np.take_along_axis
        return take(near, chosen, axis=1)[:, 0], take(margins, chosen, axis=1)[:, 0]

    there, ahead = best(forward, forward_scores, mean, other_mean)
    here, back = best(backward, backward_scores, other_mean, mean)
    pairs = np.concatenate(
        [
            np.stack([np.arange(len(one)), there], axis=1),
            np.stack([here, np.arange(len(other))], axis=1),
        ]
    )
    scores = np.concatenate([ahead, back])
    order = np.argsort(-scores, kind="stable")
    kept = order[_first_of_each(pairs[order])]
    return Candidates(pairs[kept], scores[kept])


def _nearest(
    queries: np.ndarray, passages: np.ndarray, neighbours: int, ranks: Ranks
) -> tuple[np.ndarray, np.ndarray]:
    """[Q, K]: the rows and similarities of the nearest passages.

    Similarities are in fp64, so that a threshold half way between two of them separates them.
    """
    grid = Grid.of(ranks.device, len(queries), len(passages))
    shard = Shard.of(0, passages, ranks.device, grid)
    found = top_k(queries, [shard], min(neighbours, len(passages)), ranks)
    return found.numbers, found.scores.astype(np.float64)


def _margin(scores: np.ndarray, usual: np.ndarray, margin: Margin) -> np.ndarray:
    if margin == "cosine":
        return scores
    return scores - usual if margin == "distance" else scores / usual


def _first_of_each(pairs: np.ndarray) -> np.ndarray:
    """Rows of `pairs` [n, 2] neither of whose sentences is in a row that was kept before."""
    seen: tuple[set[int], set[int]] = set(), set()
    kept = []
    for row, (one, other) in enumerate(pairs.tolist()):
        if one not in seen[0] and other not in seen[1]:
            seen[0].add(one)
            seen[1].add(other)
            kept.append(row)
    return np.array(kept, np.int64)


def best_threshold(scores: np.ndarray, correct: np.ndarray, gold: int) -> float:
    """The threshold with the highest F1 on candidates [C], best first, of which some are correct.

    It lies half way between the last candidate that it keeps and the next one.
    """
    if not len(scores):
        return 0.0
    found = np.arange(1, len(scores) + 1)
    f1 = 2 * np.cumsum(correct) / (found + gold)
    following = np.append(scores[1:], -np.inf)
    f1[scores == following] = -1  # equal scores are kept together
    best = int(f1.argmax())
    after = following[best]
    return float(scores[best] if np.isinf(after) else (scores[best] + after) / 2)


class MinedCorpora:
    """The candidates of a language pair in one split, by ids."""

    def __init__(
        self,
        corpora: Corpora,
        embedder: Embedder,
        ranks: Ranks,
        margin: Margin,
        neighbours: int = NEIGHBOURS,
    ) -> None:
        sides = [_Distinct.of(side.values()) for side in corpora.sides]
        one, other = (embedder.encode_queries(side.texts) for side in sides)
        found = candidates(one, other, ranks, margin, neighbours)
        ids = [[side.ids[row] for row in found.pairs[:, n]] for n, side in enumerate(sides)]
        known = np.array([bool(a and b) for a, b in zip(*ids, strict=True)], bool)
        self.gold = len(corpora.gold)
        self._scores = found.scores[known]
        pairs = (pair for pair in zip(*ids, strict=True) if all(pair))
        self._correct = np.array([pair in corpora.gold for pair in pairs], bool)

    def tuned(self) -> float:
        """The threshold with the highest F1."""
        return best_threshold(self._scores, self._correct, self.gold)

    def above(self, threshold: float) -> Mined:
        """The pairs with a score of at least the threshold."""
        kept = self._scores >= threshold
        return Mined(threshold, int(kept.sum()), int(self._correct[kept].sum()), self.gold)


@dataclass(frozen=True)
class _Distinct:
    """The distinct sentences of a corpus: a repeated one would be a neighbour twice."""

    texts: Sequence[str]
    ids: Sequence[str]
    """The id of each; empty where several sentences are the same, so that none is meant."""

    @classmethod
    def of(cls, placed: Iterable[Placed]) -> "_Distinct":
        names: dict[str, str] = {}
        for _, text in placed:
            names[text.text] = "" if text.text in names else text.id
        return cls(list(names), list(names.values()))
