"""The files of a comparison: report.html, .md, .tex, .csv, .json and the plots."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bootstrap import INTERVAL_METHOD, MIN_IDS
from hybrid_dist.reporting import comparison_blocks, html, plots
from hybrid_dist.reporting.comparison import COLUMNS, Comparison
from hybrid_dist.reporting.language_differences import SIGNIFICANCE
from hybrid_dist.reporting.tables import SETTINGS, booktabs
from hybrid_dist.runtime.files import write_together
from hybrid_dist.text import csv_text, json_text, markdown, printable
from hybrid_dist.tracking.report_json import REPORT, is_evaluation_report

MEANING = (
    "mAP is mean average precision, at most 1: how high relevant passages are ranked. "
    "Monolingual: query and passages in one language; cross-lingual: in two; multilingual: one "
    "pool of all languages, with relevant passages in each of them. "
    "Rank distance is the difference, in that pool, between the ranks of the last and the first of "
    "a query's equally relevant passages: the smaller, the less the model favours any language. At "
    f"best it is one less than their number. Small figures are intervals: {INTERVAL_METHOD}."
)
DIFFERENCES = (
    "Each run minus the first, both on the same draws of queries. p: the probability of a "
    f"difference as large by chance; below {SIGNIFICANCE} ▲ is better and ▼ worse, else ○. Each is "
    "a single test: among many, some are marked by chance. "
    f"Fewer than {MIN_IDS} query ids are not tested."
)

PICTURES = (
    ("map.png", "mAP in three settings", "Bars of mAP by setting and run."),
    ("rank_distance.png", "Language bias", "Bars of rank distance by run, log scale."),
    ("map_by_language.png", "mAP by query language", "Points of multilingual mAP by language."),
)


def write(comparison: Comparison, out: Path) -> None:
    """Write all files of a comparison; if one cannot be written, the old ones stay."""
    if is_evaluation_report(out / REPORT):
        raise UserError(f"--out {out}: holds the report of an evaluation; choose another folder")
    images = _plots(comparison)
    files: dict[str, str | bytes | None] = {
        **{name: images.get(name) for name, *_ in PICTURES},
        "report.html": _page(comparison, images, out),
        "report.md": _markdown(comparison),
        "report.tex": _latex(comparison),
        "report.csv": _csv(comparison),
        REPORT: json_text(_record(comparison), indent=2) + "\n",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_together(out, files)
    except OSError as error:
        raise UserError(f"{out}: cannot write the report ({error.strerror or error})") from None


def _record(comparison: Comparison) -> dict[str, Any]:
    runs = {}
    for number, (run, report) in enumerate(zip(comparison.runs, comparison.reports, strict=True)):
        differences = comparison.paired.differences.get(run, {})
        runs[run] = {
            "model": report["model"],
            **{column.figure: comparison.values(column)[number] for column in COLUMNS},
            "intervals": report["intervals"],
            "differences": {name: asdict(value) for name, value in differences.items()},
            "map_by_language": report["map_by_language"],
        }
    return {
        "task": comparison.task,
        "counts": comparison.counts,
        "differences_from": comparison.runs[0],
        "not_paired": dict(comparison.paired.refused),
        "results": comparison_blocks.results(comparison),
        "every_two_runs": [
            {"run": run, "minus": other}
            | {c.figure: asdict(found[c.figure]) for c in COLUMNS if c.figure in found}
            for (run, other), found in comparison.paired.pairwise.items()
        ],
        "runs": runs,
    }


def _markdown(comparison: Comparison) -> str:
    parts = [f"# Runs on {markdown(comparison.task)}", f"{comparison.size()}."]
    parts += [markdown(line, True) for line in comparison_blocks.results(comparison)]
    parts += [_markdown_table(comparison.rows(), comparison.best()), MEANING]
    if comparison.paired.differences:
        parts += [f"## Differences from {markdown(comparison.runs[0])}"]
        parts += [
            _markdown_table(comparison.difference_rows(), comparison.significant()),
            DIFFERENCES,
        ]
    not_paired = comparison.paired.refused.items()
    parts += [markdown(f"{run} is not paired: {why}.", True) for run, why in not_paired]
    return "\n\n".join(parts) + "\n"


def _markdown_table(rows: Sequence[Sequence[str]], marks: Sequence[Sequence[bool]]) -> str:
    head = ["Run", *(column.name for column in COLUMNS)]
    lines = [head, ["---", *("---:" for _ in head[1:])]]
    for row, marked in zip(rows, marks, strict=True):
        cells = []
        for cell, mark in zip(row, marked, strict=True):
            first, second = map(markdown, cell.partition("\n")[::2])
            first = f"**{first}**" if mark else first
            cells.append(f"{first} ({second})" if second else first)
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex(comparison: Comparison) -> str:
    """A booktabs table for a paper, with intervals below the figures."""
    comment = f"{printable(comparison.task)}: {comparison.size()}; intervals: {INTERVAL_METHOD}"
    head = ["Run", *(column.name for column in COLUMNS)]
    return booktabs(comment, head, comparison.rows(), comparison.best())


def _csv(comparison: Comparison) -> str:
    """One line per run and figure, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    difference_columns = ("difference", "difference_low", "difference_high", "p")
    writer.writerow(["run", "figure", "value", "low", "high", *difference_columns])
    for number, run in enumerate(comparison.runs):
        for column in COLUMNS:
            value = comparison.values(column)[number]
            interval = comparison.reports[number]["intervals"].get(column.figure, ["", ""])
            row = [csv_text(run), column.figure, "" if value is None else value, *interval]
            difference = comparison.paired.differences.get(run, {}).get(column.figure)
            tested = astuple(difference) if difference else ("",) * 4
            writer.writerow([*row, *("" if figure != figure else figure for figure in tested)])
    return out.getvalue()


def _plots(comparison: Comparison) -> dict[str, bytes]:
    maps = [column for column in COLUMNS if not column.lower_is_better]
    distance = [_nan(value) for value in comparison.values(COLUMNS[-1])]
    known = {name for report in comparison.reports for name in report["map_by_language"]}
    shown = [name for name in comparison.counts["by_language"] if name in known]
    by_run = [
        [_nan(comparison.values(column)[i]) for column in maps] for i in range(len(comparison.runs))
    ]
    by_language = [
        [_nan(r["map_by_language"].get(name)) for name in shown] for r in comparison.reports
    ]
    images = {
        "map.png": plots.grouped_bars(
            list(SETTINGS.values()), dict(zip(comparison.runs, by_run, strict=True)), "mAP"
        ),
    }
    if shown:
        images["map_by_language.png"] = plots.lines_by_language(
            shown,
            dict(zip(comparison.runs, by_language, strict=True)),
            "mAP multilingual, by query language",
        )
    if not np.isnan(distance).all():
        images["rank_distance.png"] = plots.log_bars(
            dict(zip(comparison.runs, distance, strict=True)),
            "rank distance, log scale (lower is better)",
            _references(comparison),
        )
    return images


def _page(comparison: Comparison, images: dict[str, bytes], out: Path) -> str:
    head = [("Run", ""), *((column.name, column.figure) for column in COLUMNS)]
    results = comparison_blocks.results(comparison)
    blocks = [html.paragraph(line, "result") for line in results]
    blocks += [html.table(head, comparison.rows(), "figures of the runs", comparison.best())]
    blocks += [html.paragraph(MEANING)]
    if comparison.paired.differences:
        title = f"Differences from {comparison.runs[0]}"
        rows, marks = comparison.difference_rows(), comparison.verdicts()
        blocks += [html.heading(title, DIFFERENCES), html.table(head, rows, title, marks)]
    not_paired = comparison.paired.refused.items()
    blocks += [html.paragraph(f"{run} is not paired: {why}.") for run, why in not_paired]
    blocks += comparison_blocks.pairwise(comparison)
    for file, title, alt in PICTURES:
        if file in images:
            stated = " ".join([alt, *results])
            blocks += [html.heading(title), html.picture(images[file], stated)]
    for section in (
        comparison_blocks.by_language,
        comparison_blocks.by_pair,
        comparison_blocks.queries,
        comparison_blocks.settings,
    ):
        blocks += section(comparison)
    blocks += comparison_blocks.links(comparison, out)
    return html.page(f"Runs on {comparison.task}", comparison.size(), blocks)


def _references(comparison: Comparison) -> tuple[float, float] | None:
    """The smallest possible rank distance and a random order's; reports of 0.1 lack them."""
    known = comparison.reports[0]["bias"]["rank_distance"].get("references")
    return None if known is None or None in known else (float(known[0]), float(known[1]))


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
