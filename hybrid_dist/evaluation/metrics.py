"""Retrieval metrics from exact ranks, and their means over the settings of the paper.

Every metric is first a value per query and pool; only then come the means, so that whatever
is told of a mean (an interval, a difference of two runs) can be told from the same values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task


@dataclass(frozen=True)
class Hits:
    """Right answers in groups: those of one query in one pool are a group."""

    group: np.ndarray
    """Of each right answer: the number of its group."""
    rank: np.ndarray
    """Its rank in the pool; infinite where a search did not list it."""
    grade: np.ndarray
    """How well it answers, 1 or more."""
    groups: int

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Of each group: the mean over its right answers; NaN where it has none."""
        return _mean(self.group, values, self.groups)

    def best(self) -> np.ndarray:
        """Of each group: the rank of its first right answer; NaN where it has none."""
        first = np.full(self.groups, np.inf)
        np.minimum.at(first, self.group, self.rank)
        return np.where(np.bincount(self.group, minlength=self.groups) > 0, first, np.nan)

    def places(self, *order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right answers in groups by `order`, and the place of each in its group, from 1."""
        chosen = np.lexsort((*order, self.group))
        ordered = self.group[chosen]
        return chosen, np.arange(1, len(chosen) + 1) - np.searchsorted(ordered, ordered)


Metric = Callable[[Hits], np.ndarray]
"""A value per group; NaN in a group without a right answer."""


def average_precision(hits: Hits) -> np.ndarray:
    """Mean over the right answers of the precision at each, at full depth."""
    return average_precision_at(np.inf)(hits)


def average_precision_at(k: float) -> Metric:
    """The sum of the precision at each right answer among the first k, over min(R, k)."""

    def metric(hits: Hits) -> np.ndarray:
        order, found = hits.places(hits.rank)
        rank, group = hits.rank[order], hits.group[order]
        precision = np.where(rank <= k, found / rank, 0.0)
        sums = np.bincount(group, weights=precision, minlength=hits.groups)
        sizes = np.minimum(np.bincount(group, minlength=hits.groups), k)
        values = np.full(hits.groups, np.nan)
        np.divide(sums, sizes, out=values, where=sizes > 0)
        return values

    return metric


def recall_at(k: int) -> Metric:
    """The share of the right answers among the first k."""
    return lambda hits: hits.mean((hits.rank <= k).astype(float))


def reciprocal_rank_at(k: int) -> Metric:
    """1 / the rank of the first right answer; 0 when it is not among the first k."""

    def metric(hits: Hits) -> np.ndarray:
        best = hits.best()
        return np.where(best > k, 0.0, 1 / best)

    return metric


def accuracy(hits: Hits) -> np.ndarray:
    """1 where a right answer stands first, else 0."""
    best = hits.best()
    return np.where(np.isnan(best), np.nan, best == 1)


def ndcg_at(k: int) -> Metric:
    """The gain of the first k over that of the best order; gains are grades, as in trec_eval."""

    def metric(hits: Hits) -> np.ndarray:
        gain = np.where(hits.rank <= k, hits.grade / np.log2(hits.rank + 1), 0.0)
        order, place = hits.places(-hits.grade)
        ideal = np.where(place <= k, hits.grade[order] / np.log2(place + 1), 0.0)
        total, best = (
            np.bincount(group, weights=gains, minlength=hits.groups)
            for group, gains in ((hits.group, gain), (hits.group[order], ideal))
        )
        values = np.full(hits.groups, np.nan)
        np.divide(total, best, out=values, where=best > 0)
        return values

    return metric


METRICS: dict[str, tuple[str, Metric]] = {
    "map": ("mAP", average_precision),
    "map_at_20": ("mAP@20", average_precision_at(20)),
    "map_at_100": ("mAP@100", average_precision_at(100)),
    "recall_at_1": ("Recall@1", recall_at(1)),
    "recall_at_10": ("Recall@10", recall_at(10)),
    "recall_at_100": ("Recall@100", recall_at(100)),
    "mrr_at_10": ("MRR@10", reciprocal_rank_at(10)),
    "ndcg_at_10": ("nDCG@10", ndcg_at(10)),
    "accuracy": ("Accuracy", accuracy),
}
"""Every metric: its key in the report, its name in tables, how it is computed."""


@dataclass(frozen=True)
class Scores:
    """One metric of every query."""

    by_pool: np.ndarray
    """[query, language]: in the pool of that language; NaN without a right answer there."""
    pooled: np.ndarray
    """In the pool of all languages; NaN where the task has no such pool."""


def score(metric: Metric, task: Task, ranking: Ranking) -> Scores:
    """The metric of every query in every pool."""
    queries, languages = len(task.query_ids), len(task.languages)
    query = task.pair_query
    group = query * languages + task.pair_language
    cells = metric(Hits(group, ranking.in_language, task.grades, queries * languages))
    pooled = np.full(queries, np.nan)
    if task.one_pool:
        pooled = metric(Hits(query, ranking.pooled, task.grades, queries))
    return Scores(cells.reshape(queries, languages), pooled)


def mean_over_pools(scores: Scores) -> np.ndarray:
    """Of each query: the mean over the pools in which it has a right answer."""
    queries, pools = np.nonzero(~np.isnan(scores.by_pool))
    return _mean(queries, scores.by_pool[queries, pools], len(scores.by_pool))


def by_pair(task: Task, scores: Scores) -> np.ndarray:
    """[query language, passage language]: mean over queries; NaN where there is none."""
    languages = len(task.languages)
    columns = [by_language(task, scores.by_pool[:, language]) for language in range(languages)]
    return np.stack(columns, axis=1)


def by_language(task: Task, values: np.ndarray) -> np.ndarray:
    """Of each query language: the mean over its queries that have a value."""
    known = ~np.isnan(values)
    return _mean(task.query_language[known], values[known], len(task.languages))


def settings(task: Task, scores: Scores) -> dict[str, float]:
    """The paper's three figures; each is a mean over languages, or language pairs, of means.

    Monolingual: query and pool in one language. Cross-lingual: in two. Multilingual: one pool
    of all languages, where the passages of all languages are right. A language pair has the
    queries that have a right answer there. NaN where `task.left_out` says why.
    """
    pairs = by_pair(task, scores)
    same = np.eye(len(task.languages), dtype=bool)
    return {
        "monolingual": mean(pairs[same]),
        "cross_lingual": mean(pairs[~same]),
        "multilingual": mean(by_language(task, scores.pooled)),
    }


def mean(values: np.ndarray) -> float:
    """The mean of the values that are there; NaN when there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _mean(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    sizes = np.bincount(groups, minlength=count)
    sums = np.bincount(groups, weights=values, minlength=count)
    values = np.full(count, np.nan)
    np.divide(sums, sizes, out=values, where=sizes > 0)
    return values
