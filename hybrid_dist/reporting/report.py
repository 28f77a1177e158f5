"""What an evaluation found: its figures, its plots, and the value of every query."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybrid_dist.evaluation import bias, bootstrap, groups, metrics
from hybrid_dist.evaluation.bootstrap import Resampled, interval
from hybrid_dist.evaluation.metrics import METRICS, Scores
from hybrid_dist.evaluation.per_query import PerQuery
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting import examples
from hybrid_dist.tracking.report_file import FORMAT, MADE_FROM, VERSION, report_id

Plots = dict[str, bytes]
"""PNG images by file name."""


@dataclass(frozen=True)
class Report:
    """One evaluation's."""

    content: dict[str, Any]
    """What report.json holds."""
    plots: Plots
    values: PerQuery


def build_report(
    task: Task,
    model: str,
    ranking: Ranking,
    top: TopK,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
    grouped: groups.Groups,
    made_from: Mapping[str, Any] | None = None,
) -> Report:
    """All figures and plots of one evaluation.

    `made_from`: what tells this evaluation from others, where a command may replace its report.
    """
    scores = {name: metrics.score(metric, task, ranking) for name, (_, metric) in METRICS.items()}
    precision = scores["map"]
    shown = precision.pooled if task.one_pool else metrics.mean_over_pools(precision)
    measured = bias.measure(task, ranking, top)
    values = PerQuery.of(task, scores, measured)
    resampled = Resampled.of(values)
    found: dict[str, Any] = {
        FORMAT: VERSION,
        "task": task.name,
        "model": model,
        "counts": _counts(task, metrics.by_pair(task, precision)),
        **{name: metrics.settings(task, values) for name, values in scores.items()},
        "intervals": _intervals(resampled),
        "left_out": _left_out(task, ranking),
        "groups": groups.summary(resampled, grouped),
        "spread": groups.spread(resampled),
        **_tables(task, scores),
        "bias": bias.summary(task, measured) | _languages_of_the_top(task, top),
        "search": top.method,
        "examples": examples.choose(task, ranking, shown, top),
        "settings": dict(settings) | {"intervals": bootstrap.INTERVAL_METHOD},
        "timing": dict(timing),
        MADE_FROM: dict(made_from or {}),
    }
    found = _without_nan(found)
    found = {"id": report_id(found)} | found
    plots = _plots(task, precision, measured, top)
    return Report(found, plots, replace(values, report=found["id"]))


def _intervals(resampled: Resampled) -> dict[str, list[float]]:
    """By the dotted name of every headline figure."""
    return {name: interval(draws) for name, draws in resampled.figures().items()}


def _left_out(task: Task, ranking: Ranking) -> dict[str, str]:
    left_out = dict(task.left_out)
    unlisted = int(np.sum(~np.isfinite(ranking.pooled)))
    if unlisted and "rank_distance" not in left_out:
        told = f"{unlisted:,} of {len(task.relevant):,} right answers are not in the run"
        left_out["rank_distance"] = told
    return left_out


def _tables(task: Task, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Every metric by language pair, and by query language in the pool of all."""
    tables: dict[str, Any] = {}
    for name, found in scores.items():
        tables[f"{name}_by_pair"] = _matrix(task, metrics.by_pair(task, found))
        tables[f"{name}_by_language"] = _row(task, metrics.by_language(task, found.pooled))
    return tables


def _languages_of_the_top(task: Task, top: TopK) -> dict[str, Any]:
    """How the languages of the first passages differ from those of the pool."""
    if not task.one_pool:
        return {"language_share": {}, "pool_share": {}, "language_lift": {}, "language_kl": {}}
    share, pool = bias.language_share(task, top.numbers), bias.pool_share(task)
    divergence = bias.divergence(share, pool)
    return {
        "language_share": _matrix(task, share),
        "pool_share": _row(task, pool),
        "language_lift": _matrix(task, bias.lift(share, pool)),
        "language_kl": {"mean": metrics.mean(divergence), "by_language": _row(task, divergence)},
    }


def _plots(task: Task, precision: Scores, measured: bias.Bias, top: TopK) -> Plots:
    from hybrid_dist.reporting import plots  # matplotlib: training starts without it

    drawn = {"map_by_pair.png": plots.map_by_pair(metrics.by_pair(task, precision), task.languages)}
    if task.one_pool:
        share, pool = bias.language_share(task, top.numbers), bias.pool_share(task)
        drawn["language_share.png"] = plots.language_share(share, pool, task.languages)
    if not np.isnan(measured.distance).all():
        codes = range(len(task.languages))
        distances = [measured.distance[task.query_language == code] for code in codes]
        drawn["rank_distance.png"] = plots.rank_distance(distances, task.languages)
    return drawn


def figures(report: Mapping[str, Any]) -> dict[str, float | None]:
    """All figures of a report by their dotted names; None where the task has none."""
    return dict(_figures(report))


def _counts(task: Task, pairs: np.ndarray) -> dict[str, Any]:
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
    """By query language and passage language; what has no value is left out."""
    rows = {language: _row(task, row) for language, row in zip(task.languages, values, strict=True)}
    return {language: row for language, row in rows.items() if row}


def _without_nan(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {key: _without_nan(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [_without_nan(value) for value in thing]
    return None if isinstance(thing, float) and not math.isfinite(thing) else thing


def _figures(thing: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float | None]]:
    for key, value in thing.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{before}{key}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield before + key, value if value is None else float(value)
