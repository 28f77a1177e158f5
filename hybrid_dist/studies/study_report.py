"""The report of a study: report.md, .html, .tex, .csv and .json, and plots as PNG and PDF."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hybrid_dist.errors import UserError
from hybrid_dist.reporting import html
from hybrid_dist.runtime.files import read_json, write_together
from hybrid_dist.studies.cells import Grid
from hybrid_dist.studies.conclusions import conclusions, limits
from hybrid_dist.studies.recipes import DESCRIPTION
from hybrid_dist.studies.run_states import RunState
from hybrid_dist.studies.study_plots import as_files, draw
from hybrid_dist.studies.study_results import TaskResults
from hybrid_dist.studies.study_statistics import Effect, Summary
from hybrid_dist.studies.study_tables import (
    ReportTable,
    effects_table,
    failures_table,
    figures_table,
    published_table,
    trend_tables,
)
from hybrid_dist.text import csv_text, json_text, markdown

METHOD = (
    "Spread over seeds and intervals over queries are shown apart. With five seeds or more, p is "
    "of a paired t-test on the seeds' differences whose variance adds that over query ids; with "
    "fewer, of a bootstrap over query ids alone. docs/studies.md describes both and how they were "
    "validated."
)


@dataclass(frozen=True)
class TaskReport:
    """What the report says about one task."""

    results: TaskResults
    summaries: dict[str, dict[str, Summary]]
    """Figure -> cell -> its summary."""
    effects: dict[tuple[str, str], Effect]
    tables: list[ReportTable]
    sentences: list[str]
    plots: dict[str, tuple[str, bytes, bytes]]
    """Name of the files -> title, PNG, PDF."""


def write_study_report(
    grid: Grid, results: Sequence[TaskResults], states: Sequence[RunState]
) -> list[TaskReport]:
    """Write all files of a study's report into its folder; returns what it says of each task."""
    parts = [_task_report(grid, one, states) for one in results]
    files: dict[str, str | bytes | None] = {
        "report.md": _markdown(grid, parts, states),
        "report.html": _html(grid, parts, states),
        "report.tex": "\n".join(table.latex() for part in parts for table in part.tables),
        "report.csv": _csv(grid, parts, states),
        "report.json": json_text(_record(grid, parts, states), indent=1) + "\n",
    }
    for part in parts:
        for name, (_, png, pdf) in part.plots.items():
            files |= {f"{name}.png": png, f"{name}.pdf": pdf}
    try:
        grid.out.mkdir(parents=True, exist_ok=True)
        write_together(grid.out, files)
    except OSError as error:
        raise UserError(f"{grid.out}: cannot write the report ({error.strerror})") from None
    return parts


def _task_report(grid: Grid, results: TaskResults, states: Sequence[RunState]) -> TaskReport:
    effects = results.effects(grid)
    tables = [
        figures_table(grid, results, states),
        effects_table(grid, results, effects),
        *trend_tables(grid, results),
        published_table(grid, results),
    ]
    plots = {}
    for number, plot in enumerate(grid.study.plots, 1):
        if plot.task in ("", results.label) and (drawing := draw(plot, grid, results)):
            title = plot.title or {"bars": "By cell", "line": f"Over {plot.x}"}.get(
                plot.kind, "Over the mix of batches"
            )
            plots[f"{results.label}-{number}-{plot.kind}"] = (title, *as_files(drawing))
    return TaskReport(
        results,
        {figure: results.summaries(figure) for figure in results.values},
        effects,
        [table for table in tables if table is not None],
        conclusions(grid, results, effects),
        plots,
    )


def _markdown(grid: Grid, parts: Sequence[TaskReport], states: Sequence[RunState]) -> str:
    blocks = [f"# Study {markdown(grid.study.name)}"]
    if grid.study.question:
        blocks.append(markdown(grid.study.question, True))
    blocks.append("## What the figures support")
    for part in parts:
        text = " ".join(part.sentences)
        blocks.append(f"**{markdown(part.results.label)}.** {markdown(text)}")
    blocks.append(markdown(" ".join(limits(grid, states)), True))
    for part in parts:
        blocks.append(f"## {markdown(part.results.label)}")
        blocks += [table.markdown() for table in part.tables]
        blocks += [f"![{markdown(title)}]({name}.png)" for name, (title, *_) in part.plots.items()]
        blocks += [
            markdown(f"{run} is left out: {why}.", True)
            for run, why in part.results.refused.items()
        ]
    if (failures := failures_table(states)) is not None:
        blocks.append(failures.markdown())
    if (recipes := _recipes_table(grid)) is not None:
        blocks.append(recipes.markdown())
    return "\n\n".join([*blocks, f"{METHOD}\n"])


def _html(grid: Grid, parts: Sequence[TaskReport], states: Sequence[RunState]) -> str:
    blocks = [html.heading("What the figures support")]
    for part in parts:
        blocks.append(html.paragraph(f"{part.results.label}. {' '.join(part.sentences)}"))
    blocks.append(html.paragraph(" ".join(limits(grid, states))))
    for part in parts:
        for table in part.tables:
            blocks.append(table.html())
        for title, png, _ in part.plots.values():
            blocks += [
                html.heading(f"{part.results.label}: {title}"),
                html.picture(png, f"{part.results.label}: {title}. {' '.join(part.sentences)}"),
            ]
        for run, why in part.results.refused.items():
            blocks.append(html.paragraph(f"{run} is left out: {why}."))
    for more in (failures_table(states), _recipes_table(grid)):
        if more is not None:
            blocks.append(more.html())
    blocks.append(html.paragraph(METHOD))
    return html.page(f"Study {grid.study.name}", grid.study.question, blocks)


def _recipes_table(grid: Grid) -> ReportTable | None:
    """How many training pairs the recipe of each cell gave, by language."""
    rows = []
    for cell in grid.cells:
        file = grid.recipe_folder(cell) / DESCRIPTION
        if cell.recipe is not None and not cell.is_untrained and file.is_file():
            pairs = read_json(file)["pairs"]
            listed = ", ".join(f"{lang} {count:,}" for lang, count in pairs.items())
            rows.append([cell.name, f"{sum(pairs.values()):,}", listed])
    if not rows:
        return None
    head = ["Cell", "Pairs", "By language"]
    return ReportTable("Training pairs", head, rows, [[False] * 3 for _ in rows])


CSV_HEAD = (
    *("task", "cell", "figure", "seeds", "mean", "seed_deviation", "seed_lowest", "seed_highest"),
    *("query_low", "query_high", "two_level_low", "two_level_high"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "p_accounts_for"),
    *("hedges_g", "failed_runs", "reason"),
)


def _csv(grid: Grid, parts: Sequence[TaskReport], states: Sequence[RunState]) -> str:
    """One line for every task, cell and figure, unrounded; cells without figures have one line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for part in parts:
        for cell in grid.cells:
            failed = [s for s in states if s.run.cell is cell and s.state == "failed"]
            reason = csv_text(failed[0].reason) if failed else ""
            label, name = csv_text(part.results.label), csv_text(cell.name)
            figures = [f for f, by_cell in part.results.values.items() if cell.name in by_cell]
            for figure in figures:
                s = part.summaries[figure][cell.name]
                line: list[Any] = [label, name, figure, s.seeds, s.mean, s.deviation, s.lowest]
                line += [s.highest, *s.query_interval, *s.two_level_interval]
                e = part.effects.get((cell.name, figure))
                line += (
                    [""] * 7
                    if e is None
                    else [*(e.value, e.low, e.high, e.p, e.p_holm, e.level, e.size)]
                )
                writer.writerow([*line, len(failed), reason])
            if not figures:
                empty = [""] * (len(CSV_HEAD) - 5)
                writer.writerow([label, name, "", *empty, len(failed), reason])
    return out.getvalue()


def _record(grid: Grid, parts: Sequence[TaskReport], states: Sequence[RunState]) -> dict[str, Any]:
    """All figures of the report, for programs."""
    return {
        "study": grid.study.name,
        "baseline": grid.study.baseline,
        "seeds": list(grid.study.seeds),
        "runs": {
            state.run.name: {"state": state.state, **asdict(state.record)} for state in states
        },
        "tasks": {
            part.results.label: {
                "query_ids": part.results.ids,
                "conclusions": part.sentences,
                "cells": {
                    cell.name: {
                        figure: asdict(part.summaries[figure][cell.name])
                        | {"by_seed": _by_seed(part.results, figure, cell.name)}
                        for figure, by_cell in part.results.values.items()
                        if cell.name in by_cell
                    }
                    for cell in grid.cells
                },
                "differences": [
                    {"cell": cell, "figure": figure, **asdict(effect)}
                    for (cell, figure), effect in part.effects.items()
                ],
            }
            for part in parts
        },
        "limits": limits(grid, states),
    }


def _by_seed(results: TaskResults, figure: str, cell: str) -> dict[str, float]:
    values = results.values[figure][cell][:, 0]
    return {str(seed): float(v) for seed, v in zip(results.seeds[cell], values, strict=True)}
