"""Language bias: whether passages in some languages are ranked above equally relevant others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_dist.evaluation import preference
from hybrid_dist.evaluation.metrics import (
    Hits,
    by_language,
    divide_or_nan,
    language_means,
    mean,
    recall_at,
)
from hybrid_dist.evaluation.peer import peer
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task

COMPLETE_AT = (10, 20, 100)
"""Depths k of Complete@k: whether all relevant passages are among the top k."""
TOP = 10
"""Top passages of every query whose languages are counted."""


@dataclass(frozen=True)
class Bias:
    """Measures per query [queries], in the pool of all languages.

    NaN where a measure is undefined, as for queries with fewer than two relevant passages.
    """

    distance: np.ndarray
    """The highest minus the lowest rank of the relevant passages."""
    normalised: np.ndarray
    """The distance scaled so that the smallest possible is 0 and a random ranking's is 1."""
    worst_rank: np.ndarray
    """The rank of the last relevant passage."""
    complete: dict[int, np.ndarray]
    """By depth k: 1 where all relevant passages are among the top k, else 0.

    NaN for queries with more than k of them."""
    first_hit_own: np.ndarray
    """1 where the first relevant passage is in the query's language, else 0.

    NaN unless relevant passages exist both in the query's language and in others."""
    first_hit_expected: np.ndarray
    """The expectation of `first_hit_own` without bias: the share of the query's own language
    among its relevant passages."""
    self_preference: np.ndarray
    """The share of the query's language in its top passages, over its share of the pool."""
    top_1: dict[str, np.ndarray]
    """By outcome of `preference.TOP_1`: 1 where the first result is that, else 0."""
    peer: np.ndarray
    """The probability of equal expected rank: p of a test whether languages are ranked alike."""

    def values(self) -> dict[str, np.ndarray]:
        """The measures, by the dotted names of the report figures that average them."""
        complete = {f"complete_at_{k}.mean": values for k, values in self.complete.items()}
        return {
            "rank_distance.mean": self.distance,
            "rank_distance.normalised": self.normalised,
            "worst_rank.mean": self.worst_rank,
            **complete,
            "first_hit_own.mean": self.first_hit_own,
            "self_preference.mean": self.self_preference,
            **{f"top_1_{name}.mean": values for name, values in self.top_1.items()},
            "peer.mean": self.peer,
        }


def measure(task: Task, ranking: Ranking, top: TopK) -> Bias:
    """Compute all bias measures of every query."""
    hits = Hits(task.pair_query, ranking.pooled, task.grades, len(task.query_ids))
    starts = task.relevant_starts[:-1]
    relevant = np.diff(task.relevant_starts)
    highest = np.maximum.reduceat(ranking.pooled, starts).astype(float)
    lowest = np.minimum.reduceat(ranking.pooled, starts).astype(float)
    several = (relevant > 1) & task.one_pool & ("rank_distance" not in task.left_out)
    listed = several & bool(np.isfinite(ranking.pooled).all())
    with np.errstate(invalid="ignore"):
        distance = np.where(listed, highest - lowest, np.nan)
    own, choice = preference.own_language_counts(task)
    first = preference.first_hits(task, ranking)
    first_is_own = np.where(first == preference.NO_LANGUAGE, np.nan, first == task.query_language)
    return Bias(
        distance=distance,
        normalised=_normalised(distance, relevant, len(task.passage_ids)),
        worst_rank=np.where(listed, highest, np.nan),
        complete={
            k: np.where(several & (relevant <= k), recall_at(k)(hits) == 1, np.nan)
            for k in COMPLETE_AT
        },
        first_hit_own=np.where(choice, first_is_own, np.nan),
        first_hit_expected=np.where(choice, own / relevant, np.nan),
        self_preference=_self_preference(task, top.numbers),
        top_1=preference.top_1(task, top.numbers),
        peer=peer(task, ranking),
    )


def _normalised(distance: np.ndarray, relevant: np.ndarray, passages: int) -> np.ndarray:
    least, random = _least_and_random(relevant, passages)
    return divide_or_nan(distance - least, random - least)


def _least_and_random(relevant: np.ndarray, passages: int) -> tuple[np.ndarray, np.ndarray]:
    """[queries]: the smallest distance that is possible, and the expected one in a random order."""
    return relevant - 1, (passages + 1) * (relevant - 1) / (relevant + 1)


def distance_references(task: Task, distance: np.ndarray) -> list[float]:
    """The smallest possible mean rank distance, and that of a random order; averaged alike."""
    known = ~np.isnan(distance)
    bounds = _least_and_random(np.diff(task.relevant_starts), len(task.passage_ids))
    return [mean(by_language(task, np.where(known, values, np.nan))) for values in bounds]


def _self_preference(task: Task, top: np.ndarray) -> np.ndarray:
    if not (task.one_pool and len(task.languages) > 1):
        return np.full(len(task.query_ids), np.nan)
    listed = top >= 0
    language = np.where(listed, task.passage_language[top], -1)
    own = (language == task.query_language[:, None]).sum(axis=1)
    return divide_or_nan(own, listed.sum(axis=1) * pool_share(task)[task.query_language])


def summary(task: Task, measured: Bias) -> dict[str, Any]:
    """The report's bias section: means within every query language, then over languages."""
    spread = {
        name: _spread(task, values)
        for name, values in (
            ("rank_distance", measured.distance),
            ("worst_rank", measured.worst_rank),
        )
    }
    distance = spread["rank_distance"]
    normalised = by_language(task, measured.normalised)
    distance["normalised"] = mean(normalised)
    distance["references"] = distance_references(task, measured.distance)
    for language, row in distance["by_language"].items():
        row["normalised"] = float(normalised[task.languages.index(language)])
    averaged = {
        **{f"complete_at_{k}": values for k, values in measured.complete.items()},
        "self_preference": measured.self_preference,
        **{f"top_1_{name}": values for name, values in measured.top_1.items()},
        "peer": measured.peer,
    }
    first = language_means(task, measured.first_hit_own)
    expected = mean(by_language(task, measured.first_hit_expected))
    return {
        **spread,
        "first_hit_own": {**first, "expected": expected},
        **{name: language_means(task, values) for name, values in averaged.items()},
    }


def _spread(task: Task, values: np.ndarray) -> dict[str, Any]:
    rows: dict[str, dict[str, float]] = {}
    for code, language in enumerate(task.languages):
        known = values[task.query_language == code]
        known = known[~np.isnan(known)]
        if len(known):
            rows[language] = {
                "mean": float(known.mean()),
                "median": float(np.median(known)),
                "p90": float(np.percentile(known, 90)),
            }
    over = {
        name: mean(np.array([row[name] for row in rows.values()]))
        for name in ("mean", "median", "p90")
    }
    return {**over, "queries": int(np.sum(~np.isnan(values))), "by_language": rows}


def language_share(task: Task, top: np.ndarray) -> np.ndarray:
    """[query languages, passage languages]: the share of each language among the top passages.

    `top` [queries, k] holds the numbers of every query's top passages, padded with -1.
    """
    languages = len(task.languages)
    filled = top >= 0
    query_language = np.broadcast_to(task.query_language[:, None], top.shape)[filled]
    cells = query_language * languages + task.passage_language[top[filled]]
    counts = np.bincount(cells, minlength=languages**2).reshape(languages, languages).astype(float)
    return divide_or_nan(counts, counts.sum(axis=1, keepdims=True))


def pool_share(task: Task) -> np.ndarray:
    """[languages]: the share of each language in the pool, which an unbiased ranking repeats."""
    counts = np.bincount(task.passage_language, minlength=len(task.languages))
    share: np.ndarray = counts / len(task.passage_ids)
    return share


def lift(share: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Shares among the top passages over shares of the pool; NaN for a language without any."""
    return divide_or_nan(share, pool)


def divergence(share: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """[query languages]: Kullback-Leibler divergence of the top passages from the pool, in bits."""
    ratio = lift(share, pool)
    logs = np.log2(ratio, out=np.zeros_like(ratio), where=ratio > 0)
    values = np.where(share > 0, share * logs, 0.0).sum(axis=1)
    return np.where(np.isnan(share).all(axis=1), np.nan, values)
