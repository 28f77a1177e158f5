"""Language bias: whether right answers in some languages stand before equal ones in others."""

from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.metrics import by_language, mean
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.tasks import Task


@dataclass(frozen=True)
class RankDistance:
    """Of every question, in the pool of all languages; NaN with fewer than two right answers."""

    distance: np.ndarray
    """The highest minus the lowest rank of its right answers."""
    normalised: np.ndarray
    """0 at the smallest distance that is possible, 1 at that of a random ranking."""


def rank_distance(task: Task, ranking: Ranking) -> RankDistance:
    starts = task.relevant_starts[:-1]
    answers = np.diff(task.relevant_starts)
    highest = np.maximum.reduceat(ranking.pooled, starts)
    lowest = np.minimum.reduceat(ranking.pooled, starts)
    distance = np.where((answers > 1) & task.one_pool, highest - lowest, np.nan)
    passages = len(task.passage_ids)
    least = answers - 1
    room = (passages + 1) * (answers - 1) / (answers + 1) - least
    normalised = np.full(len(answers), np.nan)
    np.divide(distance - least, room, out=normalised, where=room > 0)
    return RankDistance(distance, normalised)


def summary(task: Task, found: RankDistance) -> dict[str, object]:
    """Within every question language, then the mean over languages."""
    rows: dict[str, dict[str, float]] = {}
    normalised = by_language(task, found.normalised)
    for code, language in enumerate(task.languages):
        values = found.distance[task.question_language == code]
        values = values[~np.isnan(values)]
        if len(values):
            rows[language] = {
                "mean": float(values.mean()),
                "median": float(np.median(values)),
                "p90": float(np.percentile(values, 90)),
                "normalised": float(normalised[code]),
            }
    names = ("mean", "median", "p90", "normalised")
    over = {name: mean(np.array([row[name] for row in rows.values()])) for name in names}
    counted = int(np.sum(~np.isnan(found.distance)))
    return {**over, "questions": counted, "by_language": rows}


def language_share(task: Task, top: np.ndarray) -> np.ndarray:
    """[question language, passage language]: the share of the languages among the best passages.

    `top` has the numbers of every question's best passages; a negative one is none.
    """
    languages = len(task.languages)
    filled = top >= 0
    asked = np.broadcast_to(task.question_language[:, None], top.shape)[filled]
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
