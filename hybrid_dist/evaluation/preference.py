"""Preference: which language the first results are in, and whether they are relevant."""

import numpy as np

from hybrid_dist.evaluation.metrics import divide_or_nan
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import NO_PASSAGE
from hybrid_dist.evaluation.tasks import Task

TOP_1 = ("relevant_own", "relevant_other", "irrelevant_own", "irrelevant_other")
"""What the first result of a query can be: relevant or not, in its language or in another."""
NO_LANGUAGE = -1


def own_language_counts(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """[queries]: the relevant passages in the query's language, and whether there are others too.

    Without a pool of all languages there is never a choice.
    """
    query = task.pair_query
    is_own = task.pair_language == task.query_language[query]
    own = np.bincount(query, weights=is_own, minlength=len(task.query_ids))
    return own, (own > 0) & (own < np.diff(task.relevant_starts)) & task.one_pool


def first_hits(task: Task, ranking: Ranking) -> np.ndarray:
    """[queries]: the language of the first relevant passage; NO_LANGUAGE where none is listed."""
    order = np.lexsort((ranking.pooled, task.pair_query))[task.relevant_starts[:-1]]
    listed = np.isfinite(ranking.pooled[order])
    return np.where(listed, task.pair_language[order], NO_LANGUAGE)


def first_hits_by_pair(task: Task, ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """[query languages, passage languages]: shares of the first relevant passages, and expected.

    Over queries with relevant passages in several languages. A search that favours no language has
    the expected shares, those of the languages among a query's relevant passages.
    """
    languages, size = len(task.languages), np.diff(task.relevant_starts)
    cell = task.pair_query * languages + task.pair_language
    counts = np.bincount(cell, minlength=len(size) * languages).reshape(-1, languages)
    first = first_hits(task, ranking)
    chosen = ((counts > 0).sum(axis=1) > 1) & (first != NO_LANGUAGE) & task.one_pool
    own = task.query_language[chosen]
    shares, expected = np.zeros((languages, languages)), np.zeros((languages, languages))
    np.add.at(shares, (own, first[chosen]), 1)
    np.add.at(expected, own, counts[chosen] / size[chosen, None])
    queries = np.bincount(own, minlength=languages)[:, None]
    return divide_or_nan(shares, queries), divide_or_nan(expected, queries)


def top_1(task: Task, top: np.ndarray) -> dict[str, np.ndarray]:
    """By outcome of TOP_1, [queries]: 1 where the first result is that, else 0.

    `top` [queries, k] holds the numbers of every query's top passages. NaN where a query has no
    result, or no relevant passages both in its language and in others to choose from.
    """
    queries = len(task.query_ids)
    first = top[:, 0]
    _, choice = own_language_counts(task)
    known = choice & (first != NO_PASSAGE)
    own = task.passage_language[first] == task.query_language
    hits = task.relevant == first[task.pair_query]
    relevant = np.bincount(task.pair_query, weights=hits, minlength=queries) > 0
    outcomes = (relevant & own, relevant & ~own, ~relevant & own, ~relevant & ~own)
    return {
        name: np.where(known, outcome, np.nan)
        for name, outcome in zip(TOP_1, outcomes, strict=True)
    }
