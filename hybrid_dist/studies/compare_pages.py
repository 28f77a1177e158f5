"""The files of a comparison: report.html, .md, .tex, .csv, .json and the plots."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import html, plots
from hybrid_dist.evaluation.certainty import TOLD
from hybrid_dist.evaluation.tables import SETTINGS
from hybrid_dist.studies.compare import COLUMNS, SURE, Comparison

MEANING = (
    "mAP is mean average precision, 1 at best: how near the top the right answers stand. "
    "Monolingual: question and passages in one language; cross-lingual: in two; multilingual: one "
    "pool of all languages, where the right answers in every language are wanted. "
    "Rank distance is how far apart, in that pool, the first and the last of a question's equally "
    "right answers stand: the smaller, the less the model minds the language. At best it is one "
    f"less than their number. Small figures are intervals: {TOLD}."
)
DIFFERENCES = (
    "Each run less the first, both on the same draws of questions. p: how often chance alone gives "
    f"a difference as large; below {SURE} it stands out. Each is one test: of many, some stand out "
    "by chance."
)


def write(found: Comparison, out: Path) -> None:
    """All files of a comparison."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawn = _plots(found)
        for name, image in drawn.items():
            (out / name).write_bytes(image)
        (out / "report.html").write_text(_page(found, drawn), "utf-8")
        (out / "report.md").write_text(_markdown(found), "utf-8")
        (out / "report.tex").write_text(_latex(found), "utf-8")
        (out / "report.csv").write_text(_csv(found), "utf-8")
        (out / "report.json").write_text(json.dumps(_record(found), indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UserError(f"{out}: cannot write the report ({error.strerror or error})") from None


def _record(found: Comparison) -> dict[str, Any]:
    runs = {}
    for number, (run, report) in enumerate(zip(found.runs, found.reports, strict=True)):
        differences = found.paired.differences.get(run, {})
        runs[run] = {
            "model": report["model"],
            **{column.figure: found.values(column)[number] for column in COLUMNS},
            "intervals": report.get("intervals", {}),
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
    parts = [f"# Runs on {found.task}", f"{found.size()}."]
    parts += [_markdown_table(found.rows(), found.best()), MEANING]
    if found.paired.differences:
        parts += [f"## Differences from {found.runs[0]}"]
        parts += [_markdown_table(found.difference_rows(), found.sure()), DIFFERENCES]
    parts += [f"{run} is not paired: {why}." for run, why in found.paired.refused.items()]
    return "\n\n".join(parts) + "\n"


def _markdown_table(rows: Sequence[Sequence[str]], marks: Sequence[Sequence[bool]]) -> str:
    head = ["Run", *(column.name for column in COLUMNS)]
    lines = [head, ["---", *("---:" for _ in head[1:])]]
    for row, marked in zip(rows, marks, strict=True):
        cells = []
        for cell, mark in zip(row, marked, strict=True):
            first, _, second = cell.replace("|", r"\|").partition("\n")
            first = f"**{first}**" if mark else first
            cells.append(f"{first} ({second})" if second else first)
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex(found: Comparison) -> str:
    """A table for a paper, with the rules of booktabs; intervals stand below."""
    head = " & ".join(["Run", *(column.name for column in COLUMNS)])
    lines = [
        f"% {found.task}: {found.size()}; intervals: {TOLD}",
        rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
    ]
    for row, marked in zip(found.rows(), found.best(), strict=True):
        firsts, seconds = [], []
        for cell, mark in zip(row, marked, strict=True):
            first, _, second = _escaped(cell).partition("\n")
            firsts.append(rf"\textbf{{{first}}}" if mark else first)
            seconds.append(rf"{{\scriptsize {second.replace(' to ', '--')}}}" if second else "")
        lines.append(rf"{' & '.join(firsts)} \\")
        if any(seconds):
            lines.append(rf"{' & '.join(seconds)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, rf"\{c}" if c in "&%$#_{}" else c) for c in text)


def _csv(found: Comparison) -> str:
    """One line for each run and figure, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    differs = ("difference", "difference_low", "difference_high", "p")
    writer.writerow(["run", "figure", "value", "low", "high", *differs])
    for number, run in enumerate(found.runs):
        for column in COLUMNS:
            value = found.values(column)[number]
            sure = found.reports[number].get("intervals", {}).get(column.figure, ["", ""])
            told = found.paired.differences.get(run, {}).get(column.figure)
            apart = [told.value, told.low, told.high, told.p] if told else [""] * 4
            writer.writerow([run, column.figure, "" if value is None else value, *sure, *apart])
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
            "mAP multilingual, by question language",
        )
    if not np.isnan(distance).all():
        drawn["rank_distance.png"] = plots.log_bars(
            dict(zip(found.runs, distance, strict=True)),
            "rank distance, log scale (lower is better)",
        )
    return drawn


def _page(found: Comparison, drawn: dict[str, bytes]) -> str:
    head = [("Run", ""), *((column.name, column.figure) for column in COLUMNS)]
    pictures = (
        ("map.png", "mAP in three settings", "bars of mAP by setting and run"),
        ("rank_distance.png", "Language bias", "bars of rank distance by run, log scale"),
        ("map_by_language.png", "By question language", "multilingual mAP by language and run"),
    )
    blocks = [html.table(head, found.rows(), found.best()), html.paragraph(MEANING)]
    if found.paired.differences:
        title = f"Differences from {found.runs[0]}"
        rows = html.table(head, found.difference_rows(), found.sure())
        blocks += [html.heading(title, DIFFERENCES), rows]
    not_paired = found.paired.refused.items()
    blocks += [html.paragraph(f"{run} is not paired: {why}.") for run, why in not_paired]
    for file, title, alt in pictures:
        if file in drawn:
            blocks += [html.heading(title), html.picture(drawn[file], alt)]
    blocks += [html.heading("Runs"), html.definitions(_models(found))]
    return html.page(f"Runs on {found.task}", found.size(), blocks)


def _models(found: Comparison) -> dict[str, object]:
    return {run: r["model"] for run, r in zip(found.runs, found.reports, strict=True)}


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
