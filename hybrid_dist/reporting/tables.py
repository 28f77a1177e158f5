"""The figures of a report as text: rows of tables, and lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hybrid_dist.evaluation.metrics import METRICS
from hybrid_dist.text import latex, printable

SETTINGS = {
    "monolingual": "Monolingual",
    "cross_lingual": "Cross-lingual",
    "multilingual": "Multilingual",
}


def left_out(report: Mapping[str, Any]) -> str:
    """One line on the figures that the task does not support; empty if it supports all."""
    names = {
        **SETTINGS,
        "rank_distance": "Rank distance",
        "peer": "PEER",
        "consistency": "Consistency",
        "mrc": "Mean rank correlation",
    }
    reasons = [f"{names[name]}: {reason}" for name, reason in report["left_out"].items()]
    return f"Left out. {'; '.join(reasons)}." if reasons else ""


def languages(report: Mapping[str, Any]) -> int:
    """The number of languages; several pools of one language count once."""
    return len({name.partition("-x-")[0] for name in report["counts"]["by_language"]})


def show(value: float | None, digits: int = 3) -> str:
    """A rounded figure; a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def show_distance(value: float | None) -> str:
    """A rank distance, rounded to one decimal."""
    return show(value, 1)


def headline(report: Mapping[str, Any]) -> str:
    """The headline figures in one line."""
    means = (f"{setting.replace('_', '-')} {show(report['map'][setting])}" for setting in SETTINGS)
    distance = show_distance(report["bias"]["rank_distance"]["mean"])
    return f"mAP {', '.join(means)}; rank distance {distance}"


def with_interval(value: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    """A figure, with its interval on a second line."""
    if value is None or not interval:
        return show(value, digits)
    low, high = (show(edge, digits) for edge in interval)
    return f"{show(value, digits)}\n{low} to {high}"


def metric_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Every metric in the three settings."""
    intervals = report["intervals"]
    return [
        [
            label,
            *(
                with_interval(report[key][name], intervals.get(f"{key}.{name}"))
                for name in SETTINGS
            ),
        ]
        for key, (label, _) in METRICS.items()
    ]


GROUP_COLUMNS = (
    "Group",
    "Languages",
    "mAP monolingual",
    "cross-lingual",
    "multilingual",
    "Rank distance",
)


HEADLINE_DIGITS = {
    "map.monolingual": 3,
    "map.cross_lingual": 3,
    "map.multilingual": 3,
    "bias.rank_distance.mean": 1,
}
"""The figures of the headline, and their decimals."""


def group_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The figures of each group of query languages."""
    return [
        [
            printable(name),
            printable(" ".join(group["languages"])),
            *(
                with_interval(group["figures"].get(key), group["intervals"].get(key), places)
                for key, places in HEADLINE_DIGITS.items()
            ),
        ]
        for name, group in report["groups"].items()
    ]


DIM_COLUMNS = (
    ("Dimensions", "vectors are cut to their first values and normalised again"),
    ("mAP monolingual", ""),
    ("cross-lingual", ""),
    ("multilingual", ""),
    ("Rank distance", "mean"),
)


def dim_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The headline figures of each cut and of the whole vectors; none if nothing was cut."""
    cuts = report.get("dims", {})
    if not cuts:
        return []
    whole = f"{report['settings']['dimension']} (whole)"
    return [[name, *_headline_cells(figures)] for name, figures in {**cuts, whole: report}.items()]


def _headline_cells(figures: Mapping[str, Any]) -> list[str]:
    values = {f"map.{setting}": figures["map"][setting] for setting in SETTINGS}
    values["bias.rank_distance.mean"] = figures["bias"]["rank_distance"]["mean"]
    intervals = figures["intervals"]
    return [
        with_interval(values[key], intervals.get(key), places)
        for key, places in HEADLINE_DIGITS.items()
    ]


def spread_lines(report: Mapping[str, Any]) -> list[str]:
    """A line per figure on its best and its worst query language."""
    names = {f"map.{key}": f"mAP {label.lower()}" for key, label in SETTINGS.items()}
    names["bias.rank_distance.mean"] = "Rank distance"
    lines = []
    for key, row in report["spread"].items():
        digits = 1 if key.startswith("bias") else 3
        low, high = (show(edge, digits) for edge in row["gap_interval"])
        lines.append(
            f"{names[key]} over query languages: best {row['best']}, worst {row['worst']}, "
            f"{show(row['gap'], digits)} apart ({low} to {high}); standard deviation "
            f"{show(row['standard_deviation'], digits)}."
        )
    return lines


LANGUAGE_COLUMNS = (
    ("Language", "the language of the queries"),
    ("Queries", ""),
    ("Passages", ""),
    ("mAP own pool", "monolingual"),
    ("mAP all", "multilingual: the pool of all languages"),
    ("Rank distance", "mean"),
    ("median", ""),
    ("90%", "one query in ten has a larger one"),
    ("Own top 10", "share of the top 10 in the query's language"),
    ("Own pool", "share of the pool in the query's language"),
)


LEGEND = (
    ". ".join(f"{name}: {meaning}" for name, meaning in LANGUAGE_COLUMNS if meaning)
    + ". Where a query has R relevant passages, multilingual Recall@k is at most k / R and the "
    "rank distance at least R - 1."
)
"""The meaning of the columns, for pages without tooltips."""


def language_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The figures of every query language, in the order of LANGUAGE_COLUMNS."""
    bias, rows = report["bias"], []
    for language, counts in report["counts"]["by_language"].items():
        if not counts["queries"]:
            continue
        distance = bias["rank_distance"]["by_language"].get(language, {})
        rows.append(
            [
                printable(language),
                f"{counts['queries']:,}",
                f"{counts['passages']:,}",
                show(report["map_by_pair"].get(language, {}).get(language)),
                show(report["map_by_language"].get(language)),
                *(show_distance(distance.get(name)) for name in ("mean", "median", "p90")),
                show(bias["language_share"].get(language, {}).get(language), 2),
                show(bias["pool_share"].get(language), 2),
            ]
        )
    return rows


PAIR_COLUMNS = ("Queries in", "Pool", "mAP", "Recall@1")
PAIRS_SHOWN = 200
"""The most language pairs that pages list."""
DIRECTION_COLUMNS = ("Language", "Queries in it: Recall@1", "Pool in it: Recall@1")


def pair_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The figures of language pairs, for tasks without a monolingual setting: of all, or of those
    with the lowest Recall@1."""
    if "monolingual" not in report["left_out"]:
        return []
    recall = report["recall_at_1_by_pair"]
    pairs = [
        (query, pool, value, recall[query][pool])
        for query, row in report["map_by_pair"].items()
        for pool, value in row.items()
    ]
    if len(pairs) > PAIRS_SHOWN:
        pairs = sorted(pairs, key=lambda pair: pair[3])[:PAIRS_SHOWN]
    return [
        [printable(query), printable(pool), show(value), show(first)]
        for query, pool, value, first in pairs
    ]


def pair_note(report: Mapping[str, Any]) -> str:
    """Which language pairs are listed; empty if all are."""
    count = sum(map(len, report["map_by_pair"].values()))
    if "monolingual" not in report["left_out"] or count <= PAIRS_SHOWN:
        return ""
    return (
        f"The {PAIRS_SHOWN} pairs with the lowest Recall@1 of {count:,}; report.json has all under "
        "recall_at_1_by_pair."
    )


def direction_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """For tasks without a monolingual setting: the means over the pairs from and to a language.

    No rows where each language is searched for in one pool only.
    """
    recall = report["recall_at_1_by_pair"]
    if "monolingual" not in report["left_out"] or all(len(row) < 2 for row in recall.values()):
        return []
    return [
        [
            printable(language),
            show(_mean(recall.get(language, {}).values())),
            show(_mean(row[language] for row in recall.values() if language in row)),
        ]
        for language in report["counts"]["by_language"]
    ]


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def booktabs(
    comment: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    marks: Sequence[Sequence[bool | str]],
) -> str:
    """A LaTeX table; marked cells are bold, and second lines stand small below the first."""
    lines = [
        f"% {comment}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        rf"{' & '.join(map(latex, head))} \\",
        r"\midrule",
    ]
    for row, marked in zip(rows, marks, strict=True):
        firsts, seconds = [], []
        for cell, mark in zip(row, marked, strict=True):
            first, second = map(latex, cell.partition("\n")[::2])
            firsts.append(rf"\textbf{{{first}}}" if mark else first)
            seconds.append(rf"{{\scriptsize {second.replace(' to ', '--')}}}" if second else "")
        lines.append(rf"{' & '.join(firsts)} \\")
        if any(seconds):
            lines.append(rf"{' & '.join(seconds)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
