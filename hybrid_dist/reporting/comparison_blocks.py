"""Blocks of a comparison's page: the result in sentences, languages, queries and settings."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from hybrid_dist.config.strict_yaml import read_yaml
from hybrid_dist.evaluation.bootstrap import MIN_IDS
from hybrid_dist.reporting import html
from hybrid_dist.reporting.comparison import COLUMNS, STYLES, WORDS, Comparison, difference_cells
from hybrid_dist.reporting.language_blocks import as_array, row_and_column_names
from hybrid_dist.reporting.language_differences import LanguageDifferences, Tested
from hybrid_dist.reporting.matrix import (
    BETTER,
    MOST_CELLS,
    OPEN,
    SYMBOLS,
    WORSE,
    Layer,
    matrix,
    span,
)
from hybrid_dist.reporting.tables import show, show_distance
from hybrid_dist.text import printable

CHANCE = (
    "Each figure is a single test at 5%: of many, about one in twenty is marked by chance alone. "
    f"Fewer than {MIN_IDS} query ids are not tested."
)
UNTESTED = "not tested"


def results(comparison: Comparison) -> list[str]:
    """The best run by each figure, and what each run changes against the first, in sentences."""
    lines = []
    if leaders := list(_leaders(comparison)):
        lines.append(f"Best run by {'; by '.join(leaders)}.")
    first = comparison.runs[0]
    for run, differences in comparison.paired.differences.items():
        named: dict[str, list[str]] = {words: [] for words in (*WORDS.values(), UNTESTED)}
        for column in COLUMNS:
            if (found := differences.get(column.figure)) is not None:
                words = WORDS[column.verdict(found)] if found.p == found.p else UNTESTED
                named[words].append(f"{column.name} ({column.show_signed(found.value)})")
        parts = [f"{words} in {', '.join(names)}" for words, names in named.items() if names]
        lines.append(f"{run} against {first}: {'; '.join(parts)}.")
    return lines


def _leaders(comparison: Comparison) -> Iterator[str]:
    """For each figure that two runs have, the best one."""
    for number, column in enumerate(COLUMNS, 1):
        best = [row[number] for row in comparison.best()]
        if any(best):
            names = [run for run, mark in zip(comparison.runs, best, strict=True) if mark]
            value = comparison.values(column)[best.index(True)]
            yield f"{column.name}: {' and '.join(names)} ({column.show(value)})"


def pairwise(comparison: Comparison) -> list[str]:
    """Tests of every two runs, where there are more than two."""
    pairs = comparison.paired.pairwise
    if len(pairs) < 2:
        return []
    rows, marks = [], []
    for (run, other), differences in pairs.items():
        cells, marked = difference_cells(differences)
        rows.append([printable(f"{run} - {other}"), *cells])
        marks.append(["", *marked])
    head = [("Runs", ""), *((column.name, column.figure) for column in COLUMNS)]
    return [
        html.heading("Every two runs", f"The first minus the second. {CHANCE}"),
        html.table(head, rows, "differences of every two runs", marks),
    ]


def by_pair(comparison: Comparison) -> list[str]:
    """mAP of every run and every difference, in one matrix with one colour scale."""
    rows, columns = row_and_column_names(comparison.reports[0])
    if not rows or len(rows) * len(columns) > MOST_CELLS:
        return []
    values = [as_array(report["map_by_pair"], rows, columns) for report in comparison.reports]
    one_scale = span(values)
    layers = [
        Layer(f"mAP of {run}", array, one_scale)
        for run, array in zip(comparison.runs, values, strict=True)
    ]
    tested = comparison.paired.by_language.items()
    differences = [_pair_layer(comparison, name, each, rows, columns) for name, each in tested]
    counted = [
        _count(layer.marks[~np.isnan(layer.values)])
        for layer in differences
        if layer.marks is not None
    ]
    note = "The colours of all runs are on one scale, and those of all differences. " + CHANCE
    found = [f"{layer.name}: {count}" for layer, count in zip(differences, counted, strict=True)]
    return [
        html.heading("By language pair", note),
        *map(html.paragraph, found),
        matrix([*differences, *layers], rows, columns, "mAP by pair", ("queries in", "pool in")),
        '<section id="language"></section>',
    ]


def _pair_layer(
    comparison: Comparison,
    run: str,
    found: LanguageDifferences,
    rows: list[str],
    columns: list[str],
) -> Layer:
    places = np.ix_(*([found.languages.index(name) for name in names] for names in (rows, columns)))
    all_values = [each.pairs.values for each in comparison.paired.by_language.values()]
    most = max(0.001, *(float(np.nanmax(np.abs(values), initial=0.0)) for values in all_values))
    values, marks = found.pairs.values[places], found.pairs.marks[places]
    name = f"{run} - {comparison.runs[0]}"
    return Layer(name, values.astype(float), (-most, most), signed=True, marks=marks)


def _count(marks: np.ndarray) -> str:
    counts = {mark: int(np.sum(marks == mark)) for mark in (BETTER, WORSE, OPEN)}
    shown = (f"{counts[mark]:,} pairs {words}" for mark, words in WORDS.items())
    return f"{', '.join(shown)}."


def by_language(comparison: Comparison) -> list[str]:
    """The differences of every run by query language."""
    first, blocks = comparison.runs[0], list[str]()
    head = [
        ("Language", "of the queries"),
        ("mAP own pool", "monolingual"),
        ("mAP all", "multilingual: the pool of all languages"),
        ("Rank distance", "mean"),
    ]
    for run, found in comparison.paired.by_language.items():
        own = Tested(np.diag(found.pairs.values), np.diag(found.pairs.marks))
        columns = [(own, show), (found.pooled, show), (found.distance, show_distance)]
        rows, marks = [], []
        for number, language in enumerate(found.languages):
            if all(np.isnan(tested.values[number]) for tested, _ in columns):
                continue
            row, marked = [printable(language)], [""]
            for tested, form in columns:
                value, mark = float(tested.values[number]), str(tested.marks[number])
                sign = "+" if value > 0 else ""
                row.append("-" if value != value else f"{SYMBOLS[mark]}{sign}{form(value)}")
                marked.append("" if value != value else STYLES[mark])
            rows.append(row)
            marks.append(marked)
        caption = f"{run} - {first} by language"
        blocks += [
            html.heading(f"{run} - {first}", level=3),
            html.table(head, rows, caption, marks),
        ]
    note = f"Each run minus the first, by the language of the queries. {CHANCE}"
    return [html.heading("By query language", note), *blocks] if blocks else []


def queries(comparison: Comparison) -> list[str]:
    """The most improved and the most degraded queries of each language."""
    first, blocks = comparison.runs[0], list[str]()
    head = [(name, "") for name in ("Language", "Query", first, "", "Change")]
    for run, found in comparison.paired.by_language.items():
        head[3] = (run, "average precision")
        rows, marks = [], []
        for query in found.queries:
            text = html.foreign(query.language, query.text or query.id)
            change = query.after - query.before
            mark = BETTER if change > 0 else WORSE
            figures = (show(query.before), show(query.after), f"{SYMBOLS[mark]}{change:+.3f}")
            rows.append([printable(query.language), text, *figures])
            marks.append(["", "", "", "", STYLES[mark]])
        if rows:
            caption = f"queries of {run} - {first}"
            table = html.table(head, rows, caption, marks, filtered=True)
            blocks += [html.heading(f"{run} - {first}", level=3), table]
    note = (
        "By average precision, in the largest pool that the task has: of each language, the "
        "queries that gain most and those that lose most. Single queries are no evidence."
    )
    return [html.heading("Queries that changed most", note), *blocks] if blocks else []


def settings(comparison: Comparison) -> list[str]:
    """The settings in which the runs differ."""
    by_run = [
        dict(_settings(folder, report))
        for folder, report in zip(comparison.folders, comparison.reports, strict=True)
    ]
    names = dict.fromkeys(name for values in by_run for name in values)
    rows = []
    for name in names:
        row = [values.get(name, "-") for values in by_run]
        if len(set(row)) > 1:
            rows.append([printable(name), *row])
    if len(by_run) < 2:
        return []
    title = html.heading("Settings that differ", "Of the evaluations, and of the trainings.")
    if not rows:
        return [title, html.paragraph("None.")]
    head = [("Setting", ""), *((run, "") for run in comparison.runs)]
    shown = [[row[0], *(html.Markup(html.escape(value)) for value in row[1:])] for row in rows]
    return [title, html.table(head, shown, "settings that differ")]


def _settings(folder: Path, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings of a report, and of the run that its folder is in."""
    yield "model", str(report["model"])
    yield from _flat(report.get("settings", {}))
    file = folder.parent.parent / "config.yaml"
    if folder.parent.name.partition("-")[0] == "eval" and file.is_file():  # eval-LABEL: a study's
        yield from _flat(read_yaml(file))


def _flat(section: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(section, Mapping):
        for key, value in section.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, str(section)


def links(comparison: Comparison, out: Path) -> list[str]:
    """The runs, with links to their reports."""
    rows = []
    for run, folder, report in zip(
        comparison.runs, comparison.folders, comparison.reports, strict=True
    ):
        page, model = folder / "report.html", html.escape(report["model"])
        address = quote(os.path.relpath(page.resolve(), out.resolve()))
        target = html.link(address, "report") if page.is_file() else "-"
        rows.append([printable(run), html.Markup(model), target])
    head = [("Run", ""), ("Model", ""), ("Report", "")]
    return [html.heading("Runs"), html.table(head, rows, "runs and their reports")]
