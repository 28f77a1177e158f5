"""Passages that are not searched for one query: those of its own id, as in ArguAna and Quora.

They are ranked like relevant passages, so that those behind them can move up by one.
"""

from dataclasses import replace

import numpy as np

from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from hybrid_dist.evaluation.tasks import Task


def with_excluded(task: Task) -> Task:
    """The task with excluded passages among the relevant ones: a ranking of it ranks both."""
    if task.excluded is None:
        return task
    query, passage = np.divmod(_pairs(task), len(task.passage_ids))
    return replace(
        task,
        relevant_starts=np.searchsorted(query, np.arange(len(task.query_ids) + 1)),
        relevant=passage,
        grades=np.ones(len(passage), np.int64),
        excluded=None,
    )


def without_excluded(task: Task, ranking: Ranking) -> Ranking:
    """The ranking of the task, given that of the task `with_excluded`.

    A relevant passage that is excluded has an infinite rank.
    """
    if task.excluded is None:
        return ranking
    pairs, passages = _pairs(task), len(task.passage_ids)
    own = np.searchsorted(pairs, task.pair_query * passages + task.relevant)
    queries = np.flatnonzero(task.excluded >= 0)
    places = np.searchsorted(pairs, queries * passages + task.excluded[queries])
    of_pair = task.excluded[task.pair_query]
    same = task.passage_language[of_pair] == task.pair_language
    ranks = []
    for given, counts in ((ranking.in_language, same), (ranking.pooled, np.ones_like(same))):
        excluded = np.full(len(task.query_ids), np.inf)
        excluded[queries] = given[places]
        moved = (excluded[task.pair_query] < given[own]) & counts
        ranks.append(np.where(of_pair == task.relevant, np.inf, given[own] - moved))
    return Ranking(*ranks)


def top_without_excluded(task: Task, top: TopK) -> TopK:
    """The top passages without excluded ones: one fewer, but for queries that had none."""
    if task.excluded is None:
        return top
    gone = top.numbers == np.where(task.excluded < 0, NO_PASSAGE - 1, task.excluded)[:, None]
    order = np.argsort(gone, axis=1, kind="stable")
    numbers, scores = np.where(gone, NO_PASSAGE, top.numbers), np.where(gone, -np.inf, top.scores)
    kept = TopK(
        np.take_along_axis(numbers, order, 1), np.take_along_axis(scores, order, 1), top.method
    )
    return kept.first(top.numbers.shape[1] - 1)


def _pairs(task: Task) -> np.ndarray:
    """[T]: relevant and excluded passages, as query x P + passage, ascending."""
    passages = len(task.passage_ids)
    relevant = task.pair_query * passages + task.relevant
    if task.excluded is None:
        return relevant
    queries = np.flatnonzero(task.excluded >= 0)
    return np.union1d(relevant, queries * passages + task.excluded[queries])
