"""The figures of a task's subsets as MTEB defines them: trec_eval's, at its depths."""

from collections.abc import Mapping

import numpy as np

from hybrid_dist.data.reading import Subset
from hybrid_dist.evaluation import metrics
from hybrid_dist.evaluation.metrics import Hits, Metric
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task

DEPTHS = (1, 3, 5, 10, 20, 100, 1000)
MAIN = "ndcg_at_10"
"""The main score of MTEB's retrieval tasks."""


def subsets_of(task: Task) -> tuple[Subset, ...]:
    """The subsets that a task was read from; of other tasks, the language pairs with queries.

    MTEB names the passages' language first.
    """
    if task.subsets:
        return task.subsets
    languages = task.languages
    pairs = np.unique(
        np.stack([task.query_language[task.pair_query], task.pair_language], axis=1), axis=0
    )
    named = [(languages[query], languages[passage]) for query, passage in pairs.tolist()]
    if len(named) == 1:
        return (Subset("default", "test", *named[0]),)
    return tuple(
        Subset(query if query == passage else f"{passage}-{query}", "test", query, passage)
        for query, passage in named
    )


def subset_scores(task: Task, ranking: Ranking, subset: Subset) -> Mapping[str, float]:
    """MTEB's metrics of a subset, in its pool; queries without a relevant passage count as 0."""
    chosen, pair_query = _pairs_of(task, subset)
    queries, group = np.unique(pair_query, return_inverse=True)
    hits = Hits(group, ranking.in_language[chosen], task.grades[chosen], len(queries))
    count = max(1, len(queries) + subset.unanswered)
    scores = {
        f"{name}_at_{k}": float(metric(k)(hits).sum()) / count
        for name, metric in METRICS.items()
        for k in DEPTHS
    }
    return {**scores, "accuracy": scores["recall_at_1"], "main_score": scores[MAIN]}


def _pairs_of(task: Task, subset: Subset) -> tuple[np.ndarray, np.ndarray]:
    """The relevant pairs of a subset, and the query of each; none if all were missing."""
    none = np.zeros(0, np.int64)
    if not {subset.query_lang, subset.passage_lang} <= set(task.languages):
        return none, none
    queries = np.flatnonzero(task.query_language == task.languages.index(subset.query_lang))
    if subset.prefix:
        own = [task.query_ids[query].startswith(subset.prefix) for query in queries.tolist()]
        queries = queries[np.array(own, bool)]
    starts, sizes = task.relevant_starts[queries], np.diff(task.relevant_starts)[queries]
    pairs = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    passages = task.passage_language[task.relevant[pairs]]
    kept = passages == task.languages.index(subset.passage_lang)
    return pairs[kept], np.repeat(queries, sizes)[kept]


def precision_at(k: int) -> Metric:
    """The share of the top k that is relevant."""
    return lambda hits: _sums(hits, (hits.rank <= k) / k)


def hit_rate_at(k: int) -> Metric:
    """1 where a relevant passage is among the top k."""
    return lambda hits: (hits.best() <= k).astype(float)


def average_precision_cut(k: int) -> Metric:
    """trec_eval's map_cut: the sum of the precision at each relevant passage among the top k, over
    the number of relevant passages."""

    def metric(hits: Hits) -> np.ndarray:
        relevant = np.bincount(hits.group, minlength=hits.groups)
        return metrics.average_precision_at(k)(hits) * np.minimum(relevant, k) / relevant

    return metric


def _sums(hits: Hits, values: np.ndarray) -> np.ndarray:
    return np.bincount(hits.group, weights=values, minlength=hits.groups)


METRICS = {
    "ndcg": metrics.ndcg_at,
    "map": average_precision_cut,
    "recall": metrics.recall_at,
    "precision": precision_at,
    "mrr": metrics.reciprocal_rank_at,
    "hit_rate": hit_rate_at,
}
