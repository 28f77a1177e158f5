"""Consistency: whether parallel queries, the same query in several languages, get the same results.

All measures compare two queries of one id in the pool of all languages, and are then averaged: for
a query over its translations, in the report over the queries of a language and over languages.

Shapes: L languages; I ids with queries in at least two of them; Q queries; P pairs of parallel
queries in two given languages; K = TOP passages of a list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from hybrid_dist.evaluation.metrics import average_ranks, divide_or_nan, language_means, means
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from hybrid_dist.evaluation.tasks import Task

TOP = 10
"""Depth of the lists whose overlap is measured."""
PERSISTENCE = 0.9
"""p of RBO: the weight of depth d falls as p^d."""
MEASURES = ("mrc", "rbo", f"jaccard_at_{TOP}")


@dataclass(frozen=True)
class Consistency:
    """Measures of parallel queries, by name (MEASURES)."""

    queries: dict[str, np.ndarray]
    """[Q]: the mean over a query's translations; NaN where there are none to compare."""
    pairs: dict[str, np.ndarray]
    """[L, L]: the mean over the ids of two languages; symmetric, NaN on the diagonal."""

    def values(self) -> dict[str, np.ndarray]:
        """The measures, by the dotted names of the report figures that average them."""
        return {f"{name}.mean": values for name, values in self.queries.items()}


def measure(task: Task, ranking: Ranking, top: TopK) -> Consistency:
    """Compute all consistency measures of every query."""
    languages = len(task.languages)
    sums = {name: np.zeros(len(task.query_ids)) for name in MEASURES}
    counts = {name: np.zeros(len(task.query_ids)) for name in MEASURES}
    pairs = {name: np.full((languages, languages), np.nan) for name in MEASURES}
    lists, scores = top.numbers[:, :TOP], _standard_scores(task, ranking)
    for one, other in _parallel_queries(task):
        values = {
            "mrc": _correlations(task, scores, one, other),
            **_overlaps(lists[one], lists[other]),
        }
        cell = task.query_language[one[0]], task.query_language[other[0]]
        for name, compared in values.items():
            known = ~np.isnan(compared)
            if known.any():
                pairs[name][cell] = pairs[name][cell[::-1]] = compared[known].mean()
            for queries in (one[known], other[known]):
                sums[name][queries] += compared[known]
                counts[name][queries] += 1
    return Consistency({name: divide_or_nan(sums[name], counts[name]) for name in MEASURES}, pairs)


def _parallel_queries(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of every two languages with parallel queries: the queries [P] in the one and in the other."""
    table = _table(task)
    for one, other in combinations(range(len(task.languages)), 2):
        both = (table[:, [one, other]] >= 0).all(axis=1)
        if both.any():
            yield table[both, one], table[both, other]


def _table(task: Task) -> np.ndarray:
    """[I, L]: the query of each id in each language, or -1; none without a pool of all."""
    _, cluster = np.unique(np.array(list(task.query_ids)), return_inverse=True)
    table = np.full((cluster.max() + 1, len(task.languages)), -1)
    table[cluster, task.query_language] = np.arange(len(cluster))
    parallel = (table >= 0).sum(axis=1) > 1
    return table[parallel & task.one_pool]


def missing_reason(task: Task) -> str:
    """Why a task has no parallel queries to compare; empty if it has."""
    if not task.one_pool:
        return "every language pair has a pool of its own"
    if not len(_table(task)):
        return "no query id occurs in two languages"
    return ""


def _standard_scores(task: Task, ranking: Ranking) -> np.ndarray:
    """[relevant pairs]: ranks among a query's relevant passages, of mean 0 and norm 1.

    The product of two queries' scores is Spearman's correlation. Passages that a run does not list
    share the last ranks; NaN where all ranks are equal, as that of a single passage is.
    """
    query, queries = task.pair_query, len(task.query_ids)
    ranks = average_ranks(query, ranking.pooled)
    centred = ranks - means(query, ranks, queries)[query]
    norms = np.sqrt(np.bincount(query, weights=centred**2, minlength=queries))
    return divide_or_nan(centred, norms[query])


def _correlations(task: Task, scores: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[P]: Spearman's correlation of the ranks that two queries give their relevant passages.

    NaN unless both have the same relevant passages.
    """
    starts, sizes = task.relevant_starts[:-1], np.diff(task.relevant_starts)
    values = np.full(len(one), np.nan)
    alike = np.flatnonzero(sizes[one] == sizes[other])
    if not len(alike):
        return values
    size = sizes[one[alike]]
    first = np.cumsum(size) - size
    within = np.arange(size.sum()) - np.repeat(first, size)
    left, right = (np.repeat(starts[queries[alike]], size) + within for queries in (one, other))
    same = np.logical_and.reduceat(task.relevant[left] == task.relevant[right], first)
    products = np.add.reduceat(scores[left] * scores[right], first)
    values[alike] = np.where(same, products, np.nan)
    return values


def _overlaps(one: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray]:
    """[P]: RBO and the Jaccard index of lists [P, K], which NO_PASSAGE fills up.

    RBO is extrapolated from the depth of the shorter list. Both are NaN where both lists are empty.
    """
    depth = one.shape[1]
    equal = (one[:, :, None] == other[:, None, :]) & (one != NO_PASSAGE)[:, :, None]
    deeper = np.maximum(*np.indices((depth, depth))).ravel()
    at_depth = np.eye(depth, dtype=np.float32)[deeper]  # [K * K, K]: where a passage is in both
    shared = equal.reshape(len(one), -1).astype(np.float32) @ at_depth
    sizes = np.stack([(lists != NO_PASSAGE).sum(axis=1) for lists in (one, other)])
    weights = _rbo_weights(depth)[sizes.min(axis=0)]
    common = shared.sum(axis=1).astype(float)
    rbo = np.where(sizes.any(axis=0), (shared * weights).sum(axis=1), np.nan)
    return {"rbo": rbo, f"jaccard_at_{TOP}": divide_or_nan(common, sizes.sum(axis=0) - common)}


def _rbo_weights(depth: int) -> np.ndarray:
    """[S, K]: what a passage adds to the RBO of lists of S passages once it is in both, at K.

    RBO of lists of S passages is p^S X_S / S + (1 - p) / p * sum over d up to S of p^d X_d / d,
    with X_d the number of passages among the first d of both.
    """
    d = np.arange(1, depth + 1)
    terms = (1 - PERSISTENCE) / PERSISTENCE * PERSISTENCE**d / d
    weights = np.zeros((depth + 1, depth))
    for size in range(1, depth + 1):
        tail = np.cumsum(terms[:size][::-1])[::-1]
        weights[size, :size] = tail + PERSISTENCE**size / size
    return weights


def summary(task: Task, measured: Consistency) -> dict[str, Any]:
    """The report's consistency section: means within every query language, then over languages."""
    return {name: language_means(task, values) for name, values in measured.queries.items()}
