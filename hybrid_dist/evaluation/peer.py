"""PEER, the probability of equal expected rank: a test whether languages are ranked alike.

Of a query's relevant passages of one grade, the Kruskal-Wallis test compares the ranks of those in
each language; its p-value is PEER.
"""

import numpy as np
import torch

from hybrid_dist.evaluation.metrics import average_ranks, divide_or_nan, means
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task

MISSING = (
    "no query has two relevant passages of one grade in one language and one in another; with one "
    "in each language, the test gives the same p for every ranking"
)


def peer(task: Task, ranking: Ranking) -> np.ndarray:
    """[queries]: the mean p-value over a query's grades; NaN where no grade can be tested.

    A grade can be tested if its passages are in at least two languages and more than languages.
    """
    queries, languages = len(task.query_ids), len(task.languages)
    if not task.one_pool:
        return np.full(queries, np.nan)
    grades, grade = np.unique(task.grades, return_inverse=True)
    level, levels = task.pair_query * len(grades) + grade, queries * len(grades)
    counts = np.bincount(level * languages + task.pair_language, minlength=levels * languages)
    counts = counts.reshape(levels, languages)
    several = (counts > 0).sum(axis=1)
    tested = (several > 1) & (counts.sum(axis=1) > several)
    kept = tested[level]
    sample = (np.cumsum(tested) - 1)[level[kept]]
    p_values = _kruskal_wallis(sample, task.pair_language[kept], ranking.pooled[kept])
    known = ~np.isnan(p_values)
    return means(np.flatnonzero(tested)[known] // len(grades), p_values[known], queries)


def _kruskal_wallis(sample: np.ndarray, language: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[samples]: p-values of the test whether the languages of a sample differ in their values.

    `sample`, `language` and `values` [passages] describe the passages of all samples, each in at
    least two languages. Tied values share their mean rank. NaN where all are tied.
    """
    if not len(sample):
        return np.empty(0)
    sizes = np.bincount(sample)
    deviations = average_ranks(sample, values) - (sizes[sample] + 1) / 2
    count = language.max() + 1
    cells, cell = np.unique(sample * count + language, return_inverse=True)
    between = np.bincount(cell, weights=deviations) ** 2 / np.bincount(cell)
    total = np.bincount(sample, weights=deviations**2)
    statistic = (sizes - 1) * divide_or_nan(np.bincount(cells // count, weights=between), total)
    freedom = np.bincount(cells // count) - 1
    halves = (torch.from_numpy(part / 2) for part in (freedom, statistic))
    p_values: np.ndarray = torch.special.gammaincc(*halves).numpy()
    return p_values
