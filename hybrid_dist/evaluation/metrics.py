"""Retrieval metrics from exact ranks, and their means over the settings of the paper.

Every metric is first a value per question and pool; only then come the means, so that whatever
is told of a mean (an interval, a difference of two runs) can be told from the same values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task

Metric = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Of relevant passages: their group, their rank within it, how many groups; a value per group.

A group is the right answers of one question in one pool. A group without any has NaN.
"""


def average_precision(groups: np.ndarray, ranks: np.ndarray, count: int) -> np.ndarray:
    """Mean over the right answers of the precision at each, at full depth."""
    order = np.lexsort((ranks, groups))
    ordered = groups[order]
    found = np.arange(1, len(order) + 1) - np.searchsorted(ordered, ordered)
    return _mean(ordered, found / ranks[order], count)


def recall_at(k: int) -> Metric:
    """The share of the right answers among the first k."""
    return lambda groups, ranks, count: _mean(groups, (ranks <= k).astype(float), count)


def reciprocal_rank_at(k: int) -> Metric:
    """1 / the rank of the first right answer; 0 when it is not among the first k."""

    def metric(groups: np.ndarray, ranks: np.ndarray, count: int) -> np.ndarray:
        best = np.full(count, np.inf)
        np.minimum.at(best, groups, ranks)
        values = np.where(best <= k, 1 / best, 0.0)
        return np.where(np.bincount(groups, minlength=count) > 0, values, np.nan)

    return metric


@dataclass(frozen=True)
class Scores:
    """One metric of every question."""

    by_pool: np.ndarray
    """[question, language]: in the pool of that language; NaN without a right answer there."""
    pooled: np.ndarray
    """In the pool of all languages; NaN where the task has no such pool."""


def score(metric: Metric, task: Task, ranking: Ranking) -> Scores:
    """The metric of every question in every pool."""
    questions, languages = len(task.question_ids), len(task.languages)
    question = task.pair_question
    cells = metric(
        question * languages + task.pair_language, ranking.in_language, questions * languages
    )
    pooled = np.full(questions, np.nan)
    if task.one_pool:
        pooled = metric(question, ranking.pooled, questions)
    return Scores(cells.reshape(questions, languages), pooled)


def over_pools(scores: Scores) -> np.ndarray:
    """Of each question: the mean over the pools in which it has a right answer."""
    questions, pools = np.nonzero(~np.isnan(scores.by_pool))
    return _mean(questions, scores.by_pool[questions, pools], len(scores.by_pool))


def by_pair(task: Task, scores: Scores) -> np.ndarray:
    """[question language, passage language]: mean over questions; NaN where there is none."""
    languages = len(task.languages)
    columns = [by_language(task, scores.by_pool[:, language]) for language in range(languages)]
    return np.stack(columns, axis=1)


def by_language(task: Task, values: np.ndarray) -> np.ndarray:
    """Of each question language: the mean over its questions that have a value."""
    known = ~np.isnan(values)
    return _mean(task.question_language[known], values[known], len(task.languages))


def settings(task: Task, scores: Scores) -> dict[str, float]:
    """The paper's three figures; each is a mean over languages, or language pairs, of means.

    Monolingual: question and pool in one language. Cross-lingual: in two. Multilingual: one pool
    of all languages, where the passages of all languages are right. A language pair has the
    questions that have a right answer there. NaN where `task.left_out` says why.
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
