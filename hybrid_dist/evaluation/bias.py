"""Language bias: whether right answers in some languages stand before equal ones in others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_dist.evaluation.metrics import Hits, by_language, mean, recall_at
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task

COMPLETE_AT = (20, 100)
"""Depths at which all right answers to a query should be there."""
TOP = 10
"""Passages of every query whose languages are counted."""


@dataclass(frozen=True)
class Bias:
    """Of every query, in the pool of all languages; NaN where the query cannot tell.

    A query with fewer than two right answers cannot tell how languages are treated.
    """

    distance: np.ndarray
    """The highest minus the lowest rank of its right answers."""
    normalised: np.ndarray
    """0 at the smallest distance that is possible, 1 at that of a random ranking."""
    worst_rank: np.ndarray
    """The rank of its last right answer."""
    complete: dict[int, np.ndarray]
    """By depth: 1 where all right answers stand above it, else 0."""
    first_hit_own: np.ndarray
    """1 where its first right answer is in its own language, else 0; NaN without a choice."""
    first_hit_expected: np.ndarray
    """The share of its right answers in its own language: the above if no language is favoured."""
    self_preference: np.ndarray
    """The share of its own language in the top, over that in the pool."""

    def values(self) -> dict[str, np.ndarray]:
        """By the dotted names of the figures that are their means."""
        complete = {f"complete_at_{k}.mean": values for k, values in self.complete.items()}
        return {
            "rank_distance.mean": self.distance,
            "rank_distance.normalised": self.normalised,
            "worst_rank.mean": self.worst_rank,
            **complete,
            "first_hit_own.mean": self.first_hit_own,
            "self_preference.mean": self.self_preference,
        }


def measure(task: Task, ranking: Ranking, top: TopK) -> Bias:
    """The bias that every query shows."""
    hits = Hits(task.pair_query, ranking.pooled, task.grades, len(task.query_ids))
    starts = task.relevant_starts[:-1]
    answers = np.diff(task.relevant_starts)
    highest = np.maximum.reduceat(ranking.pooled, starts).astype(float)
    lowest = np.minimum.reduceat(ranking.pooled, starts).astype(float)
    several = (answers > 1) & task.one_pool & ("rank_distance" not in task.left_out)
    listed = several & bool(np.isfinite(ranking.pooled).all())
    with np.errstate(invalid="ignore"):
        distance = np.where(listed, highest - lowest, np.nan)
    own, choice = _own(task)
    first = _first_hits(task, ranking)
    return Bias(
        distance=distance,
        normalised=_normalised(distance, answers, len(task.passage_ids)),
        worst_rank=np.where(listed, highest, np.nan),
        complete={
            k: np.where(several, recall_at(k)(hits) == 1, np.nan).astype(float) for k in COMPLETE_AT
        },
        first_hit_own=np.where(choice, first, np.nan),
        first_hit_expected=np.where(choice, own / answers, np.nan),
        self_preference=_self_preference(task, top.numbers),
    )


def _normalised(distance: np.ndarray, answers: np.ndarray, passages: int) -> np.ndarray:
    least = answers - 1
    room = (passages + 1) * (answers - 1) / (answers + 1) - least
    normalised = np.full(len(answers), np.nan)
    np.divide(distance - least, room, out=normalised, where=room > 0)
    return normalised


def _own(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Of each query: right answers in its language, and whether there are others as well."""
    query = task.pair_query
    is_own = task.pair_language == task.query_language[query]
    own = np.bincount(query, weights=is_own, minlength=len(task.query_ids))
    return own, (own > 0) & (own < np.diff(task.relevant_starts)) & task.one_pool


def _first_hits(task: Task, ranking: Ranking) -> np.ndarray:
    """Whether the first right answer is in the query's language; NaN where none is listed."""
    query = task.pair_query
    order = np.lexsort((ranking.pooled, query))[task.relevant_starts[:-1]]
    own = task.pair_language[order] == task.query_language
    return np.where(np.isfinite(ranking.pooled[order]), own, np.nan)


def _self_preference(task: Task, top: np.ndarray) -> np.ndarray:
    values = np.full(len(task.query_ids), np.nan)
    if task.one_pool and len(task.languages) > 1:
        listed = top >= 0
        language = np.where(listed, task.passage_language[top], -1)
        own = (language == task.query_language[:, None]).sum(axis=1)
        expected = listed.sum(axis=1) * pool_share(task)[task.query_language]
        np.divide(own, expected, out=values, where=expected > 0)
    return values


def summary(task: Task, found: Bias) -> dict[str, Any]:
    """Within every query language, then the mean over languages."""
    spread = {
        name: _spread(task, values)
        for name, values in (("rank_distance", found.distance), ("worst_rank", found.worst_rank))
    }
    distance = spread["rank_distance"]
    normalised = by_language(task, found.normalised)
    distance["normalised"] = mean(normalised)
    for language, row in distance["by_language"].items():
        row["normalised"] = float(normalised[task.languages.index(language)])
    complete = {f"complete_at_{k}": _means(task, values) for k, values in found.complete.items()}
    first = _means(task, found.first_hit_own)
    expected = mean(by_language(task, found.first_hit_expected))
    return {
        **spread,
        **complete,
        "first_hit_own": {**first, "expected": expected},
        "self_preference": _means(task, found.self_preference),
    }


def _means(task: Task, values: np.ndarray) -> dict[str, Any]:
    rows = by_language(task, values)
    named = {
        name: float(v) for name, v in zip(task.languages, rows, strict=True) if not np.isnan(v)
    }
    return {"mean": mean(rows), "by_language": named}


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
    """[query language, passage language]: the share of the languages among the best passages.

    `top` has the numbers of every query's best passages; a negative one is none.
    """
    languages = len(task.languages)
    filled = top >= 0
    asked = np.broadcast_to(task.query_language[:, None], top.shape)[filled]
    cells = asked * languages + task.passage_language[top[filled]]
    counts = np.bincount(cells, minlength=languages**2).reshape(languages, languages).astype(float)
    total = counts.sum(axis=1, keepdims=True)
    share = np.full_like(counts, np.nan)
    np.divide(counts, total, out=share, where=total > 0)
    return share


def pool_share(task: Task) -> np.ndarray:
    """The share of each language in the pool: what a ranking that favours none would show."""
    counts = np.bincount(task.passage_language, minlength=len(task.languages))
    share: np.ndarray = counts / len(task.passage_ids)
    return share


def lift(share: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Shares of the top over shares of the pool; NaN for a language that has no passage."""
    values = np.full_like(share, np.nan)
    np.divide(share, pool, out=values, where=np.broadcast_to(pool > 0, share.shape))
    return values


def divergence(share: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Of each query language: the Kullback-Leibler divergence of its top from the pool, bits."""
    ratio = lift(share, pool)
    logs = np.log2(ratio, out=np.zeros_like(ratio), where=ratio > 0)
    values = np.where(share > 0, share * logs, 0.0).sum(axis=1)
    return np.where(np.isnan(share).all(axis=1), np.nan, values)
