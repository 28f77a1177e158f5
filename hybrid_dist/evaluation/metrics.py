"""Retrieval metrics from exact ranks, and their means over the settings of the paper.

A metric is computed per query and pool first and averaged afterwards, so that intervals and
differences between runs can be computed from the same values as the means.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task


@dataclass(frozen=True)
class Hits:
    """The H relevant passages of all groups; a group is one query in one pool."""

    group: np.ndarray
    """[H]: the number of each passage's group."""
    rank: np.ndarray
    """[H]: its rank in the pool; infinite where a run does not list it."""
    grade: np.ndarray
    """[H]: its relevance grade, 1 or more."""
    groups: int
    """The number of groups, including empty ones."""

    def mean(self, values: np.ndarray) -> np.ndarray:
        """[groups]: the mean of `values` [H] over each group; NaN for an empty one."""
        return means(self.group, values, self.groups)

    def best(self) -> np.ndarray:
        """[groups]: the rank of the first relevant passage; NaN for an empty group."""
        first = np.full(self.groups, np.inf)
        np.minimum.at(first, self.group, self.rank)
        return np.where(np.bincount(self.group, minlength=self.groups) > 0, first, np.nan)

    @cached_property
    def by_rank(self) -> tuple[np.ndarray, np.ndarray]:
        """An order [H] by (group, rank), and the position from 1 of each within its group."""
        return self._sort_by(self.rank)

    @cached_property
    def by_grade(self) -> tuple[np.ndarray, np.ndarray]:
        """The same with the highest grades first."""
        return self._sort_by(-self.grade)

    def _sort_by(self, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.lexsort((key, self.group))
        group = self.group[order]
        return order, np.arange(1, len(order) + 1) - np.searchsorted(group, group)


Metric = Callable[[Hits], np.ndarray]
"""A value per group; NaN for a group without a relevant passage."""


def average_precision(hits: Hits) -> np.ndarray:
    """The mean over the relevant passages of the precision at each, at full depth."""
    return average_precision_at(np.inf)(hits)


def average_precision_at(k: float) -> Metric:
    """The sum of the precision at each relevant passage among the top k, over min(R, k)."""

    def metric(hits: Hits) -> np.ndarray:
        order, retrieved = hits.by_rank
        rank, group = hits.rank[order], hits.group[order]
        precision = np.where(rank <= k, retrieved / rank, 0.0)
        sums = np.bincount(group, weights=precision, minlength=hits.groups)
        sizes = np.minimum(np.bincount(group, minlength=hits.groups), k)
        return divide_or_nan(sums, sizes)

    return metric


def recall_at(k: int) -> Metric:
    """The share of the relevant passages that are among the top k."""
    return lambda hits: hits.mean((hits.rank <= k).astype(float))


def reciprocal_rank_at(k: int) -> Metric:
    """1 / the rank of the first relevant passage; 0 if it is not among the top k."""

    def metric(hits: Hits) -> np.ndarray:
        best = hits.best()
        return np.where(best > k, 0.0, 1 / best)

    return metric


def accuracy(hits: Hits) -> np.ndarray:
    """1 where a relevant passage is at rank 1, else 0."""
    best = hits.best()
    return np.where(np.isnan(best), np.nan, best == 1)


def ndcg_at(k: int) -> Metric:
    """The discounted gain of the top k over that of the ideal order, with grades as gains.

    This is trec_eval's definition.
    """

    def metric(hits: Hits) -> np.ndarray:
        gain = np.where(hits.rank <= k, hits.grade / np.log2(hits.rank + 1), 0.0)
        order, position = hits.by_grade
        ideal = np.where(position <= k, hits.grade[order] / np.log2(position + 1), 0.0)
        total, best = (
            np.bincount(group, weights=gains, minlength=hits.groups)
            for group, gains in ((hits.group, gain), (hits.group[order], ideal))
        )
        return divide_or_nan(total, best)

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
    "ndcg_at_20": ("nDCG@20", ndcg_at(20)),
    "accuracy": ("Accuracy", accuracy),
}
"""Every metric: key in the report -> (name in tables, function)."""


@dataclass(frozen=True)
class Scores:
    """One metric for every query."""

    by_pool: np.ndarray
    """[queries, languages]: in the pool of each language; NaN without a relevant passage there."""
    pooled: np.ndarray
    """[queries]: in the pool of all languages; NaN where the task has no such pool."""


def score(metric: Metric, task: Task, ranking: Ranking) -> Scores:
    """Compute a metric for every query in every pool."""
    return score_all({"it": metric}, task, ranking)["it"]


def score_all(chosen: Mapping[str, Metric], task: Task, ranking: Ranking) -> dict[str, Scores]:
    """Compute metrics for every query in every pool; they share the order of the passages."""
    queries, languages = len(task.query_ids), len(task.languages)
    query = task.pair_query
    hits = Hits(
        query * languages + task.pair_language,
        ranking.in_language,
        task.grades,
        queries * languages,
    )
    by_pool = {name: metric(hits).reshape(queries, languages) for name, metric in chosen.items()}
    pooled = {name: np.full(queries, np.nan) for name in chosen}
    if task.one_pool:
        hits = Hits(query, ranking.pooled, task.grades, queries)
        pooled = {name: metric(hits) for name, metric in chosen.items()}
    return {name: Scores(by_pool[name], pooled[name]) for name in chosen}


def mean_over_pools(scores: Scores) -> np.ndarray:
    """[queries]: the mean over the pools in which the query has a relevant passage."""
    queries, pools = np.nonzero(~np.isnan(scores.by_pool))
    return means(queries, scores.by_pool[queries, pools], len(scores.by_pool))


def by_pair(task: Task, scores: Scores) -> np.ndarray:
    """[query languages, passage languages]: the mean over queries; NaN without any."""
    languages = len(task.languages)
    columns = [by_language(task, scores.by_pool[:, language]) for language in range(languages)]
    return np.stack(columns, axis=1)


def by_language(task: Task, values: np.ndarray) -> np.ndarray:
    """[languages]: the mean of `values` [queries] over the queries of each, without NaN."""
    known = ~np.isnan(values)
    return means(task.query_language[known], values[known], len(task.languages))


def settings(task: Task, scores: Scores) -> dict[str, float]:
    """The paper's three figures, each a mean over languages, or language pairs, of means.

    Monolingual: query and pool in one language. Cross-lingual: in two. Multilingual: one pool of
    all languages, with relevant passages in all of them. A language pair counts the queries that
    have a relevant passage in its pool. NaN where `task.left_out` gives the reason.
    """
    pairs = by_pair(task, scores)
    same = np.eye(len(task.languages), dtype=bool)
    return {
        "monolingual": mean(pairs[same]),
        "cross_lingual": mean(pairs[~same]),
        "multilingual": mean(by_language(task, scores.pooled)),
    }


def language_means(task: Task, values: np.ndarray) -> dict[str, Any]:
    """The report's figure of `values` [queries]: by query language, and the mean over languages."""
    rows = by_language(task, values)
    named = zip(task.languages, rows.tolist(), strict=True)
    return {"mean": mean(rows), "by_language": {name: v for name, v in named if not np.isnan(v)}}


def mean(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def means(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """[count]: the mean of the values of each group; NaN for an empty one."""
    sizes = np.bincount(groups, minlength=count)
    sums = np.bincount(groups, weights=values, minlength=count)
    return divide_or_nan(sums, sizes)


def average_ranks(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[H]: the rank from 1 of each value [H] within its group; equal values share their mean."""
    order = np.lexsort((values, groups))
    group, value = groups[order], values[order]
    position = np.arange(1, len(order) + 1) - np.searchsorted(group, group)
    new = np.append(True, (group[1:] != group[:-1]) | (value[1:] != value[:-1]))
    tie = np.cumsum(new[: len(order)]) - 1
    ranks = np.empty(len(order))
    ranks[order] = (np.bincount(tie, weights=position) / np.bincount(tie))[tie]
    return ranks


def divide_or_nan(dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """The quotients, in the shape of the dividend; NaN where the divisor is not positive."""
    quotient = np.full(dividend.shape, np.nan)
    defined = np.broadcast_to(divisor > 0, dividend.shape)
    return np.divide(dividend, divisor, out=quotient, where=defined)
