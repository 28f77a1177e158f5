"""Sections of report.json: counts, what is left out, tables by language and by language pair."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_dist.evaluation import bias, consistency, metrics, preference
from hybrid_dist.evaluation.metrics import Scores
from hybrid_dist.evaluation.peer import MISSING as NO_PEER
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task


def left_out(
    task: Task, ranking: Ranking, measured: bias.Bias, consistent: consistency.Consistency
) -> dict[str, str]:
    """Figure -> why the report does not have it."""
    left_out = dict(task.left_out)
    unlisted = int(np.sum(~np.isfinite(ranking.pooled)))
    if unlisted and "rank_distance" not in left_out:
        left_out["rank_distance"] = (
            f"{unlisted:,} of {len(task.relevant):,} relevant passages are not "
            + ("in the run" if task.excluded is None else "ranked")
        )
    if not task.one_pool or len(task.languages) == 1:
        return left_out
    if np.isnan(measured.peer).all():
        left_out["peer"] = NO_PEER
    if reason := consistency.missing_reason(task):
        left_out["consistency"] = reason
    elif np.isnan(consistent.queries["mrc"]).all():
        left_out["mrc"] = "no parallel queries rank the same two or more relevant passages"
    return left_out


def tables(task: Task, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Every metric by language pair, and by query language in the pool of all languages."""
    tables: dict[str, Any] = {}
    for name, metric in scores.items():
        tables[f"{name}_by_pair"] = _matrix(task, metrics.by_pair(task, metric))
        tables[f"{name}_by_language"] = _row(task, metrics.by_language(task, metric.pooled))
    return tables


def languages_of_the_top(task: Task, ranking: Ranking, top: TopK) -> dict[str, Any]:
    """How the languages of the top passages differ from the pool's, and of the first relevant one
    from those that it could have."""
    first, expected = preference.first_hits_by_pair(task, ranking)
    first_hits = {
        "first_hit_by_pair": _matrix(task, first),
        "first_hit_expected_by_pair": _matrix(task, expected),
    }
    if not task.one_pool:
        names = ("language_share", "pool_share", "language_lift", "language_kl")
        return {**{name: {} for name in names}, **first_hits}
    share, pool = bias.language_share(task, top.numbers), bias.pool_share(task)
    divergence = bias.divergence(share, pool)
    return {
        "language_share": _matrix(task, share),
        "pool_share": _row(task, pool),
        "language_lift": _matrix(task, bias.lift(share, pool)),
        "language_kl": {"mean": metrics.mean(divergence), "by_language": _row(task, divergence)},
        **first_hits,
    }


def counts(task: Task, pairs: np.ndarray) -> dict[str, Any]:
    languages = len(task.languages)
    queries = np.bincount(task.query_language, minlength=languages).tolist()
    passages = np.bincount(task.passage_language, minlength=languages).tolist()
    return {
        "queries": len(task.query_ids),
        "passages": len(task.passage_ids),
        "right_answers": len(task.relevant),
        "language_pairs_without_answers": int(np.isnan(pairs).sum()),
        "by_language": {
            language: {"queries": queries[code], "passages": passages[code]}
            for code, language in enumerate(task.languages)
        },
    }


def _row(task: Task, values: np.ndarray) -> dict[str, float]:
    named = zip(task.languages, values.tolist(), strict=True)
    return {language: value for language, value in named if not math.isnan(value)}


def _matrix(task: Task, values: np.ndarray) -> dict[str, dict[str, float]]:
    """Query language -> passage language -> value, without NaN."""
    rows = {language: _row(task, row) for language, row in zip(task.languages, values, strict=True)}
    return {language: row for language, row in rows.items() if row}


def consistency_section(task: Task, measured: consistency.Consistency) -> dict[str, Any]:
    """The agreement of parallel queries, by query language and by pair of languages."""
    pairs = {f"{name}_by_pair": _matrix(task, rows) for name, rows in measured.pairs.items()}
    return consistency.summary(task, measured) | pairs
