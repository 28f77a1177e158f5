"""What an evaluation found: its figures and plots, and their tables."""

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import bias, examples, metrics, plots
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import TopK
from hybrid_dist.evaluation.tasks import Task

Plots = dict[str, bytes]
"""PNG images by file name."""
SETTINGS = {
    "monolingual": "Monolingual",
    "cross_lingual": "Cross-lingual",
    "multilingual": "Multilingual",
}
METRICS = {
    "map": ("mAP", metrics.average_precision),
    "recall_at_1": ("Recall@1", metrics.recall_at(1)),
    "recall_at_10": ("Recall@10", metrics.recall_at(10)),
    "mrr_at_10": ("MRR@10", metrics.reciprocal_rank_at(10)),
}
"""Every metric: its key in the report, its name in tables, how it is computed."""


def build_report(
    task: Task,
    model: str,
    ranking: Ranking,
    top: TopK,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
) -> tuple[dict[str, Any], Plots]:
    """All figures and plots of one evaluation."""
    scores = {name: metrics.score(metric, task, ranking) for name, (_, metric) in METRICS.items()}
    precision = scores["map"]
    pairs = metrics.by_pair(task, precision)
    shown = precision.pooled if task.one_pool else metrics.over_pools(precision)
    distance = bias.rank_distance(task, ranking)
    share = bias.language_share(task, top.numbers)
    report: dict[str, Any] = {
        "task": task.name,
        "model": model,
        "counts": _counts(task, pairs),
        **{name: metrics.settings(task, values) for name, values in scores.items()},
        "left_out": dict(task.left_out),
        "map_by_pair": _matrix(task, pairs),
        "recall_at_1_by_pair": _matrix(task, metrics.by_pair(task, scores["recall_at_1"])),
        "map_by_language": _row(task, metrics.by_language(task, precision.pooled)),
        "bias": {
            "rank_distance": bias.summary(task, distance),
            "language_share": _matrix(task, share) if task.one_pool else {},
            "pool_share": _row(task, bias.pool_share(task)) if task.one_pool else {},
        },
        "search": top.method,
        "examples": examples.choose(task, ranking, shown, top),
        "settings": dict(settings),
        "timing": dict(timing),
    }
    drawn = {"map_by_pair.png": plots.map_by_pair(pairs, task.languages)}
    if task.one_pool:
        pool = bias.pool_share(task)
        drawn["language_share.png"] = plots.language_share(share, pool, task.languages)
    distances = [distance.distance[task.question_language == c] for c in range(len(task.languages))]
    if not np.isnan(distance.distance).all():
        drawn["rank_distance.png"] = plots.rank_distance(distances, task.languages)
    return _without_nan(report), drawn


def figures(report: Mapping[str, Any]) -> dict[str, float | None]:
    """All figures of a report by their dotted names; None where the task has none."""
    return dict(_figures(report))


def figure(report: Mapping[str, Any], name: str) -> float:
    """The figure with a dotted name, as in `map.multilingual`."""
    known = figures(report)
    if name in known:
        value = known[name]
        if value is None:
            why = _why(report, name)
            raise UserError(f"figure {name!r}: task {report.get('task')} has none: {why}")
        return value
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else "as in 'map.multilingual'"
    raise UserError(f"figure {name!r}: the report of task {report.get('task')} has none; {hint}")


def _why(report: Mapping[str, Any], name: str) -> str:
    """Why a task has no such figure."""
    reasons = report.get("left_out", {}).items()
    told = (why for setting, why in reasons if setting in name.split("."))
    return next(told, "it has one language only")


def left_out(report: Mapping[str, Any]) -> str:
    """What the task does not support, in a line; nothing where it supports all."""
    names = {**SETTINGS, "rank_distance": "Rank distance"}
    told = [f"{names[name]}: {why}" for name, why in report["left_out"].items()]
    return f"Left out. {'; '.join(told)}." if told else ""


def languages(report: Mapping[str, Any]) -> int:
    """How many languages there are; pools of one language do not count twice."""
    return len({name.partition("-x-")[0] for name in report["counts"]["by_language"]})


def show(value: float | None, digits: int = 3) -> str:
    """A figure for people; a missing one is a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def show_distance(value: float | None) -> str:
    """A rank distance."""
    return show(value, 1)


def headline(report: Mapping[str, Any]) -> str:
    """The figures that matter most, in a line."""
    means = (f"{setting.replace('_', '-')} {show(report['map'][setting])}" for setting in SETTINGS)
    distance = show_distance(report["bias"]["rank_distance"]["mean"])
    return f"mAP {', '.join(means)}; rank distance {distance}"


def markdown(report: Mapping[str, Any]) -> str:
    """The headline figures and those by language, as Markdown tables."""
    counts, distance = report["counts"], report["bias"]["rank_distance"]
    names, pairs = list(SETTINGS.values()), pair_rows(report)
    rows = [
        [label, *(show(report[key][setting]) for setting in SETTINGS)]
        for key, (label, _) in METRICS.items()
    ]
    found = f"{show_distance(distance['mean'])} (normalised {show(distance['normalised'])})"
    lines = [
        f"# {report['task']}: {report['model']}",
        "",
        f"{counts['questions']:,} questions and {counts['passages']:,} passages in "
        f"{languages(report)} languages.",
        "",
        *_table(["", *names], rows),
        "",
        *_paragraph(left_out(report)),
        f"Rank distance: {found}; lower is better.",
        "",
        *_table([name for name, _ in LANGUAGE_COLUMNS], language_rows(report)),
        "",
        LEGEND,
        "",
        *_paragraph("\n".join(_table([*PAIR_COLUMNS], pairs) if pairs else "")),
        "## Settings",
        "",
        *(f"- {key}: {value}" for key, value in report["settings"].items()),
        "",
    ]
    return "\n".join(lines)


LANGUAGE_COLUMNS = (
    ("Language", "the language of the questions"),
    ("Questions", ""),
    ("Passages", ""),
    ("mAP own pool", "monolingual"),
    ("mAP all", "multilingual: the pool of all languages"),
    ("Rank distance", "mean"),
    ("median", ""),
    ("90%", "one question in ten has a larger one"),
    ("Own top 10", "share of the top 10 in the question's language"),
    ("Own pool", "share of the pool in the question's language"),
)


LEGEND = (
    ". ".join(f"{name}: {told}" for name, told in LANGUAGE_COLUMNS if told)
    + ". Where a question has R right answers, multilingual Recall@k is k / R at most and the rank "
    "distance R - 1 at least."
)
"""What the columns mean, for pages that have no room in their heads."""


def language_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The figures of every question language, in the order of LANGUAGE_COLUMNS."""
    found, rows = report["bias"], []
    for language, counts in report["counts"]["by_language"].items():
        if not counts["questions"]:
            continue
        distance = found["rank_distance"]["by_language"].get(language, {})
        rows.append(
            [
                language,
                f"{counts['questions']:,}",
                f"{counts['passages']:,}",
                show(report["map_by_pair"].get(language, {}).get(language)),
                show(report["map_by_language"].get(language)),
                *(show_distance(distance.get(name)) for name in ("mean", "median", "p90")),
                show(found["language_share"].get(language, {}).get(language), 2),
                show(found["pool_share"].get(language), 2),
            ]
        )
    return rows


PAIR_COLUMNS = ("Questions in", "Pool", "mAP", "Recall@1")


def pair_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The figures of every language pair, where questions find none in their own language."""
    if "monolingual" not in report["left_out"]:
        return []
    return [
        [asked, told, show(value), show(report["recall_at_1_by_pair"][asked][told])]
        for asked, row in report["map_by_pair"].items()
        for told, value in row.items()
    ]


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    ]


def _counts(task: Task, pairs: np.ndarray) -> dict[str, Any]:
    languages = len(task.languages)
    questions = np.bincount(task.question_language, minlength=languages).tolist()
    passages = np.bincount(task.passage_language, minlength=languages).tolist()
    return {
        "questions": len(task.question_ids),
        "passages": len(task.passage_ids),
        "right_answers": len(task.relevant),
        "language_pairs_without_answers": int(np.isnan(pairs).sum()),
        "by_language": {
            language: {"questions": questions[code], "passages": passages[code]}
            for code, language in enumerate(task.languages)
        },
    }


def _row(task: Task, values: np.ndarray) -> dict[str, float]:
    named = zip(task.languages, values.tolist(), strict=True)
    return {language: value for language, value in named if not math.isnan(value)}


def _matrix(task: Task, values: np.ndarray) -> dict[str, dict[str, float]]:
    """By question language and passage language; what has no value is left out."""
    rows = {language: _row(task, row) for language, row in zip(task.languages, values, strict=True)}
    return {language: row for language, row in rows.items() if row}


def _without_nan(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {key: _without_nan(value) for key, value in thing.items()}
    return None if isinstance(thing, float) and math.isnan(thing) else thing


def _figures(thing: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float | None]]:
    for key, value in thing.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{before}{key}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield before + key, value if value is None else float(value)
