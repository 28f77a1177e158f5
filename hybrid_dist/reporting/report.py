"""The report of one evaluation: all figures, the per-query values behind them, and the plots."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.evaluation import bias, bootstrap, consistency, groups, metrics
from hybrid_dist.evaluation.bootstrap import Resampled, interval
from hybrid_dist.evaluation.metrics import METRICS, Scores
from hybrid_dist.evaluation.per_query import PerQuery
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting import examples, report_sections
from hybrid_dist.tracking.report_json import FORMAT, MADE_FROM, VERSION, report_id

Plots = dict[str, bytes]
"""PNG images by file name."""


@dataclass(frozen=True)
class SettingMeans:
    """A metric in the paper's three settings; None where the task does not support one."""

    monolingual: float | None
    cross_lingual: float | None
    multilingual: float | None


@dataclass(frozen=True)
class BiasMeans:
    """Language bias, averaged over queries and then languages; None where it is undefined."""

    rank_distance: float | None
    rank_distance_normalised: float | None
    worst_rank: float | None
    complete_at_10: float | None
    complete_at_20: float | None
    complete_at_100: float | None
    first_hit_own: float | None
    first_hit_expected: float | None
    self_preference: float | None
    language_kl: float | None
    peer: float | None


@dataclass(frozen=True)
class ConsistencyMeans:
    """Agreement of parallel queries, averaged like bias; None where it is undefined."""

    mrc: float | None
    rbo: float | None
    jaccard_at_10: float | None


@dataclass(frozen=True)
class Report:
    """The result of an evaluation. docs/metrics.md defines its figures."""

    content: dict[str, Any]
    """The content of report.json."""
    values: PerQuery
    """The per-query values that the figures average."""
    draw: Callable[[], Plots] = field(repr=False, compare=False)
    """Draws the plots."""

    @property
    def id(self) -> str:
        """A checksum of the figures and settings, which all files of the report carry."""
        return str(self.content["id"])

    @property
    def map(self) -> SettingMeans:
        """Mean average precision, at full depth."""
        return self.metric("map")

    def metric(self, name: str) -> SettingMeans:
        """The means of a metric: one of METRICS, such as `ndcg_at_10`."""
        _check_metric(name)
        return SettingMeans(**self.content[name])

    @property
    def by_pair(self) -> dict[tuple[str, str], float]:
        """(query language, passage language) -> mean average precision."""
        return self.metric_by_pair("map")

    def metric_by_pair(self, name: str) -> dict[tuple[str, str], float]:
        """(query language, passage language) -> mean of a metric, for pairs that have queries."""
        _check_metric(name)
        matrix = self.content[f"{name}_by_pair"]
        return {(query, passage): v for query, row in matrix.items() for passage, v in row.items()}

    @property
    def bias(self) -> BiasMeans:
        """The language bias in the pool of all languages."""
        content = self.content["bias"]
        distance, first = content["rank_distance"], content["first_hit_own"]
        return BiasMeans(
            rank_distance=distance["mean"],
            rank_distance_normalised=distance["normalised"],
            worst_rank=content["worst_rank"]["mean"],
            complete_at_10=content["complete_at_10"]["mean"],
            complete_at_20=content["complete_at_20"]["mean"],
            complete_at_100=content["complete_at_100"]["mean"],
            first_hit_own=first["mean"],
            first_hit_expected=first["expected"],
            self_preference=content["self_preference"]["mean"],
            language_kl=content["language_kl"].get("mean"),
            peer=content["peer"]["mean"],
        )

    @property
    def consistency(self) -> ConsistencyMeans:
        """How far parallel queries get the same results in the pool of all languages."""
        content = self.content["consistency"]
        return ConsistencyMeans(**{name: content[name]["mean"] for name in consistency.MEASURES})

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Dotted name of a figure, such as `map.monolingual` -> its 95% interval."""
        return {name: (low, high) for name, (low, high) in self.content["intervals"].items()}

    @cached_property
    def plots(self) -> Plots:
        """The plots, drawn on first use."""
        return self.draw()

    def to_dict(self) -> dict[str, Any]:
        """A copy of the content of report.json."""
        return copy.deepcopy(self.content)

    def write(self, folder: str | Path) -> None:
        """Write report.json, .md and .html, scores.npz and the plots, replacing an old report."""
        from hybrid_dist.reporting.page import write_report  # it imports this module

        write_report(Path(folder), self)


def _check_metric(name: str) -> None:
    if name not in METRICS:
        raise ValueError(f"{name!r} is not a metric; known: {', '.join(METRICS)}")


def build_report(
    task: Task,
    model: str,
    ranking: Ranking,
    top: TopK,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
    grouped: groups.Groups,
    made_from: Mapping[str, Any] | None = None,
    cuts: Mapping[int, tuple[Ranking, TopK]] | None = None,
) -> Report:
    """Compute all figures of an evaluation.

    `made_from` identifies the evaluation, so that the same evaluation may replace its report.
    `cuts` are ranks and top passages by cut vectors, by their dimension.
    """
    measured = _Measured.of(task, ranking, top)
    precision = measured.scores["map"]
    shown = precision.pooled if task.one_pool else metrics.mean_over_pools(precision)
    at_dims = {
        str(dim): _figures_at(task, *found, grouped, _Measured.of(task, *found))
        for dim, found in (cuts or {}).items()
    }
    content: dict[str, Any] = {
        FORMAT: VERSION,
        "task": task.name,
        "model": model,
        "counts": report_sections.counts(task, metrics.by_pair(task, precision)),
        **_figures_at(task, ranking, top, grouped, measured),
        **({"dims": at_dims} if at_dims else {}),
        "examples": examples.choose(task, ranking, shown, top),
        "settings": dict(settings) | {"intervals": bootstrap.INTERVAL_METHOD},
        "timing": dict(timing),
        MADE_FROM: dict(made_from or {}),
    }
    content = _without_nan(content)
    content = {"id": report_id(content)} | content
    values = replace(measured.values, report=content["id"])
    return Report(
        content, values, lambda: _plots(task, precision, measured.bias, measured.consistency, top)
    )


@dataclass(frozen=True)
class _Measured:
    """The per-query values of an evaluation."""

    scores: dict[str, Scores]
    bias: bias.Bias
    consistency: consistency.Consistency
    values: PerQuery

    @classmethod
    def of(cls, task: Task, ranking: Ranking, top: TopK) -> "_Measured":
        chosen = {name: metric for name, (_, metric) in METRICS.items()}
        scores = metrics.score_all(chosen, task, ranking)
        biased = bias.measure(task, ranking, top)
        consistent = consistency.measure(task, ranking, top)
        return cls(scores, biased, consistent, PerQuery.of(task, scores, biased, consistent))


def _figures_at(
    task: Task, ranking: Ranking, top: TopK, grouped: groups.Groups, measured: _Measured
) -> dict[str, Any]:
    """All figures, with intervals and tables."""
    resampled = Resampled.of(measured.values)
    return {
        **{name: metrics.settings(task, metric) for name, metric in measured.scores.items()},
        "intervals": {name: interval(draws) for name, draws in resampled.figures().items()},
        "left_out": report_sections.left_out(task, ranking, measured.bias, measured.consistency),
        "groups": groups.summary(resampled, grouped),
        "spread": groups.spread(resampled),
        **report_sections.tables(task, measured.scores),
        "bias": bias.summary(task, measured.bias)
        | report_sections.languages_of_the_top(task, ranking, top),
        "consistency": report_sections.consistency_section(task, measured.consistency),
        "search": top.method,
    }


def _plots(
    task: Task,
    precision: Scores,
    measured: bias.Bias,
    consistent: consistency.Consistency,
    top: TopK,
) -> Plots:
    from hybrid_dist.reporting import plots  # matplotlib is slow to import

    drawn = {"map_by_pair.png": plots.map_by_pair(metrics.by_pair(task, precision), task.languages)}
    if task.one_pool:
        share, pool = bias.language_share(task, top.numbers), bias.pool_share(task)
        drawn["language_share.png"] = plots.language_share(share, pool, task.languages)
    if not np.isnan(measured.distance).all():
        codes = range(len(task.languages))
        distances = [measured.distance[task.query_language == code] for code in codes]
        least, random = bias.distance_references(task, measured.distance)
        drawn["rank_distance.png"] = plots.rank_distance(distances, task.languages, (least, random))
    overlap = consistent.pairs[f"jaccard_at_{consistency.TOP}"]
    if not np.isnan(overlap).all():
        drawn["jaccard_by_pair.png"] = plots.jaccard_by_pair(overlap, task.languages)
    return drawn


def figures(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Dotted name -> figure, for all figures of a report; None where the task has none."""
    return dict(_figures(report))


def _without_nan(node: Any) -> Any:
    """A nested structure with None for NaN and infinity, which JSON does not have."""
    if isinstance(node, dict):
        return {key: _without_nan(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_nan(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def _figures(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield prefix + key, value if value is None else float(value)
