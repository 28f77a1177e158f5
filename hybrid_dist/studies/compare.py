"""The paper's table over runs: what each finds in three settings, and how it treats languages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import html, plots
from hybrid_dist.evaluation.report import SETTINGS, figure, languages, show, show_distance

MEANING = (
    "mAP is mean average precision, 1 at best: how near the top the right answers stand. "
    "Monolingual: question and passages in one language; cross-lingual: in two; multilingual: one "
    "pool of all languages, where the right answers in every language are wanted. "
    "Rank distance is how far apart, in that pool, the first and the last of a question's equally "
    "right answers stand: the smaller, the less the model minds the language. At best it is one "
    "less than their number."
)


@dataclass(frozen=True)
class Column:
    """A figure of the table."""

    name: str
    figure: str
    show: Callable[[float | None], str]
    lower_is_better: bool = False


COLUMNS = (
    *(Column(f"mAP {label.lower()}", f"map.{key}", show) for key, label in SETTINGS.items()),
    Column("Rank distance", "bias.rank_distance.mean", show_distance, lower_is_better=True),
)


@dataclass(frozen=True)
class Comparison:
    """Reports of one task by several runs."""

    task: str
    runs: tuple[str, ...]
    reports: tuple[dict[str, Any], ...]

    @property
    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = self.reports[0]["counts"]
        return found

    def values(self, column: Column) -> list[float | None]:
        """The column's figure of every run; None where the task has none."""
        return [_value(report, column.figure) for report in self.reports]

    def rows(self) -> list[list[str]]:
        columns = [[column.show(v) for v in self.values(column)] for column in COLUMNS]
        return [list(row) for row in zip(self.runs, *columns, strict=True)]

    def best(self) -> list[list[bool]]:
        """Which cells of `rows` are best, as shown; none where there is nothing to compare."""
        marks = [[False] * len(self.runs)]
        marks += [_best(self.values(column), column) for column in COLUMNS]
        return [list(row) for row in zip(*marks, strict=True)]

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title=f"{self.task}: {self.size()}", title_justify="left")
        table.add_column("Run")
        for column in COLUMNS:
            table.add_column(column.name.replace(" ", "\n", 1), justify="right")
        for row, best in zip(self.rows(), self.best(), strict=True):
            cells = [
                f"[bold]{c}[/bold]" if b else c for c, b in zip(row[1:], best[1:], strict=True)
            ]
            table.add_row(row[0].replace("[", r"\["), *cells)
        return table

    def size(self) -> str:
        counts = self.counts
        return (
            f"{counts['questions']:,} questions, {counts['passages']:,} passages, "
            f"{languages(self.reports[0])} languages"
        )


def compare(runs: Sequence[Path], out: Path | None = None, task: str | None = None) -> Comparison:
    """Put the runs' reports beside each other, and write them as pages into `out`, if given.

    Without `task`, the one task that all runs were evaluated on.
    """
    if not runs:
        raise UserError("compare: no run was given; name run folders, as in runs/a runs/b")
    name = task if task is not None else _common_task(runs)
    reports = tuple(_read(run, name) for run in runs)
    for run, report in zip(runs, reports, strict=True):
        if (report["task"], report["counts"]) != (reports[0]["task"], reports[0]["counts"]):
            raise UserError(
                f"{run}: its task {name} is not that of {runs[0]} "
                f"({_told(report)} there, {_told(reports[0])} here); evaluate both on the same data"
            )
    found = Comparison(name, _names(runs), reports)
    if out is not None:
        _write(found, out)
    return found


def _common_task(runs: Sequence[Path]) -> str:
    tasks = [{file.parent.name for file in _reports(run).glob("*/report.json")} for run in runs]
    for run, names in zip(runs, tasks, strict=True):
        if not names:
            raise UserError(
                f"{run}: no report at {_reports(run)}/NAME/report.json; name a run trained with "
                "eval.tasks, or a folder that `hybrid-dist evaluate --out` wrote"
            )
    common = sorted(set.intersection(*tasks))
    if len(common) != 1:
        listed = "; ".join(
            f"{run}: {', '.join(sorted(t))}" for run, t in zip(runs, tasks, strict=True)
        )
        raise UserError(
            f"compare: the runs have {len(common) or 'no'} tasks in common ({listed}); "
            "name one with --task, or runs of one task"
        )
    return common[0]


def _reports(run: Path) -> Path:
    """Where reports are: in a run folder's eval/, or in the folder of an evaluation."""
    return run / "eval" if (run / "config.yaml").exists() or (run / "eval").is_dir() else run


def _read(run: Path, task: str) -> dict[str, Any]:
    file = _reports(run) / task / "report.json"
    try:
        report: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except OSError:
        raise UserError(f"{run}: no report at {file}; evaluate the run on {task} first") from None
    except ValueError:
        raise UserError(f"{file}: not a report (broken JSON); evaluate the run again") from None
    if not isinstance(report, dict) or "counts" not in report or "map" not in report:
        raise UserError(f"{file}: not a report of an evaluation; evaluate the run again")
    return report


def _told(report: dict[str, Any]) -> str:
    counts = report["counts"]
    return f"{report['task']}, {counts['questions']:,} questions, {counts['passages']:,} passages"


def _names(runs: Sequence[Path]) -> tuple[str, ...]:
    """Each run's folder, with as many of the folders above it as tell the runs apart."""
    paths = [run.resolve().parts for run in runs]
    longest = max(map(len, paths))
    for length in range(1, longest + 1):
        names = tuple("/".join(parts[-length:]) for parts in paths)
        if len(set(names)) == len(names):
            return names
    repeated = next(
        str(run) for run, parts in zip(runs, paths, strict=True) if paths.count(parts) > 1
    )
    raise UserError(f"compare: {repeated} was given twice")


def _value(report: dict[str, Any], name: str) -> float | None:
    try:
        return figure(report, name)
    except UserError:
        return None


def _best(values: Sequence[float | None], column: Column) -> list[bool]:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return [False] * len(values)
    best = column.show(min(known) if column.lower_is_better else max(known))
    return [value is not None and column.show(value) == best for value in values]


def _write(found: Comparison, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawn = _plots(found)
        for name, image in drawn.items():
            (out / name).write_bytes(image)
        (out / "report.html").write_text(_page(found, drawn), "utf-8")
        (out / "report.md").write_text(_markdown(found), "utf-8")
        (out / "report.json").write_text(json.dumps(_record(found), indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UserError(f"{out}: cannot write the report ({error.strerror or error})") from None


def _record(found: Comparison) -> dict[str, Any]:
    runs = {
        run: {
            "model": report["model"],
            **{column.figure: _value(report, column.figure) for column in COLUMNS},
            "map_by_language": report["map_by_language"],
        }
        for run, report in zip(found.runs, found.reports, strict=True)
    }
    return {"task": found.task, "counts": found.counts, "runs": runs}


def _markdown(found: Comparison) -> str:
    head = ["Run", *(column.name for column in COLUMNS)]
    rows = [
        [
            f"**{cell}**" if mark else cell.replace("|", r"\|")
            for cell, mark in zip(r, b, strict=True)
        ]
        for r, b in zip(found.rows(), found.best(), strict=True)
    ]
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# Runs on {found.task}\n\n{found.size()}.\n\n{table}\n\n{MEANING}\n"


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
    for file, title, alt in pictures:
        if file in drawn:
            blocks += [html.heading(title), html.picture(drawn[file], alt)]
    blocks += [html.heading("Runs"), html.definitions(_models(found))]
    return html.page(f"Runs on {found.task}", found.size(), blocks)


def _models(found: Comparison) -> dict[str, object]:
    return {run: r["model"] for run, r in zip(found.runs, found.reports, strict=True)}


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
