"""The files of a comparison: report.html, .md, .tex, .csv, .json and the plots."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bootstrap import INTERVAL_METHOD
from hybrid_dist.reporting import html, plots
from hybrid_dist.reporting.comparison import COLUMNS, INTERVALS_NOTE, Comparison
from hybrid_dist.reporting.tables import SETTINGS
from hybrid_dist.runtime.files import write_together
from hybrid_dist.text import csv_text, json_text, latex, markdown, printable
from hybrid_dist.tracking.report_file import REPORT, is_evaluation_report

MEANING = (
    "mAP is mean average precision, 1 at best: how near the top the right answers stand. "
    "Monolingual: query and passages in one language; cross-lingual: in two; multilingual: one "
    "pool of all languages, where the right answers in every language are wanted. "
    "Rank distance is how far apart, in that pool, the first and the last of a query's equally "
    "right answers stand: the smaller, the less the model minds the language. At best it is one "
    f"less than their number. Small figures are intervals: {INTERVAL_METHOD}."
)
DIFFERENCES = (
    "Each run less the first, both on the same draws of queries. p: how often chance alone gives "
    f"a difference as large; below {INTERVALS_NOTE} it stands out. Each is one test: of many, some "
    "stand out by chance."
)

PICTURES = (
    ("map.png", "mAP in three settings", "bars of mAP by setting and run"),
    ("rank_distance.png", "Language bias", "bars of rank distance by run, log scale"),
    ("map_by_language.png", "By query language", "multilingual mAP by language and run"),
)


def write(found: Comparison, out: Path) -> None:
    """Write all files of a comparison; if one cannot be written, the old ones stay."""
    if is_evaluation_report(out / REPORT):
        raise UserError(f"--out {out}: holds the report of an evaluation; choose another folder")
    drawn = _plots(found)
    files: dict[str, str | bytes | None] = {
        **{name: drawn.get(name) for name, *_ in PICTURES},
        "report.html": _page(found, drawn),
        "report.md": _markdown(found),
        "report.tex": _latex(found),
        "report.csv": _csv(found),
        REPORT: json_text(_record(found), indent=2) + "\n",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_together(out, files)
    except OSError as error:
        raise UserError(f"{out}: cannot write the report ({error.strerror or error})") from None


def _record(found: Comparison) -> dict[str, Any]:
    runs = {}
    for number, (run, report) in enumerate(zip(found.runs, found.reports, strict=True)):
        differences = found.paired.differences.get(run, {})
        runs[run] = {
            "model": report["model"],
            **{column.figure: found.values(column)[number] for column in COLUMNS},
            "intervals": report["intervals"],
            "differences": {name: asdict(told) for name, told in differences.items()},
            "map_by_language": report["map_by_language"],
        }
    return {
        "task": found.task,
        "counts": found.counts,
        "differences_from": found.runs[0],
        "not_paired": dict(found.paired.refused),
        "runs": runs,
    }


def _markdown(found: Comparison) -> str:
    parts = [f"# Runs on {markdown(found.task)}", f"{found.size()}."]
    parts += [_markdown_table(found.rows(), found.best()), MEANING]
    if found.paired.differences:
        parts += [f"## Differences from {markdown(found.runs[0])}"]
        parts += [_markdown_table(found.difference_rows(), found.sure()), DIFFERENCES]
    not_paired = found.paired.refused.items()
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


def _latex(found: Comparison) -> str:
    """A table for a paper, with the rules of booktabs; intervals stand below."""
    head = " & ".join(["Run", *(column.name for column in COLUMNS)])
    lines = [
        f"% {printable(found.task)}: {found.size()}; intervals: {INTERVAL_METHOD}",
        rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
    ]
    for row, marked in zip(found.rows(), found.best(), strict=True):
        firsts, seconds = [], []
        for cell, mark in zip(row, marked, strict=True):
            first, second = map(latex, cell.partition("\n")[::2])
            firsts.append(rf"\textbf{{{first}}}" if mark else first)
            seconds.append(rf"{{\scriptsize {second.replace(' to ', '--')}}}" if second else "")
        lines.append(rf"{' & '.join(firsts)} \\")
        if any(seconds):
            lines.append(rf"{' & '.join(seconds)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _csv(found: Comparison) -> str:
    """One line for each run and figure, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    differs = ("difference", "difference_low", "difference_high", "p")
    writer.writerow(["run", "figure", "value", "low", "high", *differs])
    for number, run in enumerate(found.runs):
        for column in COLUMNS:
            value = found.values(column)[number]
            sure = found.reports[number]["intervals"].get(column.figure, ["", ""])
            told = found.paired.differences.get(run, {}).get(column.figure)
            apart = [told.value, told.low, told.high, told.p] if told else [""] * 4
            shown = "" if value is None else value
            writer.writerow([csv_text(run), column.figure, shown, *sure, *apart])
    return out.getvalue()


def _plots(found: Comparison) -> dict[str, bytes]:
    maps = [column for column in COLUMNS if not column.lower_is_better]
    distance = [_nan(value) for value in found.values(COLUMNS[-1])]
    known = {name for report in found.reports for name in report["map_by_language"]}
    shown = [name for name in found.counts["by_language"] if name in known]
    by_run = [[_nan(found.values(column)[i]) for column in maps] for i in range(len(found.runs))]
    by_language = [[_nan(r["map_by_language"].get(name)) for name in shown] for r in found.reports]
    drawn = {
        "map.png": plots.grouped_bars(
            list(SETTINGS.values()), dict(zip(found.runs, by_run, strict=True)), "mAP"
        ),
    }
    if shown:
        drawn["map_by_language.png"] = plots.lines_by_language(
            shown,
            dict(zip(found.runs, by_language, strict=True)),
            "mAP multilingual, by query language",
        )
    if not np.isnan(distance).all():
        drawn["rank_distance.png"] = plots.log_bars(
            dict(zip(found.runs, distance, strict=True)),
            "rank distance, log scale (lower is better)",
        )
    return drawn


def _page(found: Comparison, drawn: dict[str, bytes]) -> str:
    head = [("Run", ""), *((column.name, column.figure) for column in COLUMNS)]
    blocks = [html.table(head, found.rows(), found.best()), html.paragraph(MEANING)]
    if found.paired.differences:
        title = f"Differences from {found.runs[0]}"
        rows = html.table(head, found.difference_rows(), found.sure())
        blocks += [html.heading(title, DIFFERENCES), rows]
    not_paired = found.paired.refused.items()
    blocks += [html.paragraph(f"{run} is not paired: {why}.") for run, why in not_paired]
    for file, title, alt in PICTURES:
        if file in drawn:
            blocks += [html.heading(title), html.picture(drawn[file], alt)]
    blocks += [html.heading("Runs"), html.definitions(_models(found))]
    return html.page(f"Runs on {found.task}", found.size(), blocks)


def _models(found: Comparison) -> dict[str, object]:
    return {run: r["model"] for run, r in zip(found.runs, found.reports, strict=True)}


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
