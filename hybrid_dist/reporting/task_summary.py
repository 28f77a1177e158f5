"""Several tasks at once: a run's figures by task, means over tasks, and runs by Borda count."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hybrid_dist.errors import UserError
from hybrid_dist.reporting.comparison import COLUMNS, common_reports, common_tasks, run_names
from hybrid_dist.reporting.markdown_page import table
from hybrid_dist.reporting.report import figures
from hybrid_dist.reporting.tables import show
from hybrid_dist.runtime.files import write_together
from hybrid_dist.text import cell, json_text, printable
from hybrid_dist.tracking.report_json import REPORT, is_evaluation_report, read_report

NAME = "summary"
MAPS = {column.figure: column.name for column in COLUMNS if not column.lower_is_better}
DISTANCE = "bias.rank_distance.normalised"
HEADS = {**MAPS, DISTANCE: "Rank distance, normalised"}
"""Figures that are shown, and their heads; those of MAPS are votes."""
Figures = Mapping[str, float | None]
MEANING = (
    "Means are over the tasks for which all runs have the figure. Borda: every mAP of every task "
    "that all runs have is a vote, in which a run gets a point for each run that is worse and "
    "half a point for each that is equal; the rank is by the sum of points, and equal sums share "
    "the best rank."
)


@dataclass(frozen=True)
class TaskSummary:
    """The figures of runs on several tasks."""

    runs: tuple[str, ...]
    tasks: Mapping[str, tuple[Figures, ...]]
    """By task: the figures of each run."""

    def values(self, figure: str, task: str) -> list[float | None]:
        return [of_run.get(figure) for of_run in self.tasks[task]]

    def means(self, figure: str) -> list[float | None]:
        """Each run's mean over the tasks for which all runs have the figure; None without any."""
        by_task = [self.values(figure, task) for task in self.tasks]
        by_task = [values for values in by_task if None not in values]
        return [_mean([values[n] for values in by_task]) for n in range(len(self.runs))]

    @property
    def points(self) -> list[float]:
        """Each run's points in all votes."""
        votes = [self.values(figure, task) for task in self.tasks for figure in MAPS]
        return borda_points([vote for vote in votes if None not in vote], len(self.runs))

    def run_rows(self) -> list[list[str]]:
        """A row for each run: its means, points and rank."""
        means = [[show(value) for value in self.means(figure)] for figure in HEADS]
        points = self.points
        last = [[f"{value:g}" for value in points], list(map(str, borda_ranks(points)))]
        return [list(row) for row in zip(map(printable, self.runs), *means, *last, strict=True)]

    def task_rows(self) -> list[list[str]]:
        """A row for each task and run."""
        return [
            [printable(task), printable(run), *(show(of_run.get(figure)) for figure in HEADS)]
            for task, of_runs in self.tasks.items()
            for run, of_run in zip(self.runs, of_runs, strict=True)
        ]

    def tables(self) -> list[Table]:
        """For the terminal."""
        title = f"Means over {len(self.tasks)} tasks"
        return [_table(title, RUN_HEAD, self.run_rows()), _table("", TASK_HEAD, self.task_rows())]

    def record(self) -> dict[str, Any]:
        """The content of summary.json."""
        points = self.points
        means = {figure: self.means(figure) for figure in HEADS}
        return {
            "tasks": list(self.tasks),
            "runs": {
                run: {
                    "means": {figure: values[n] for figure, values in means.items()},
                    "borda_points": points[n],
                    "borda_rank": borda_ranks(points)[n],
                    "by_task": {
                        task: {figure: of_runs[n].get(figure) for figure in HEADS}
                        for task, of_runs in self.tasks.items()
                    },
                }
                for n, run in enumerate(self.runs)
            },
        }

    def write(self, out: Path) -> None:
        """Write summary.md and summary.json."""
        if is_evaluation_report(out / REPORT):
            raise UserError(f"{out}: holds the report of an evaluation; choose another folder")
        parts = [
            f"# {len(self.tasks)} tasks",
            "\n".join(table(RUN_HEAD, self.run_rows())),
            MEANING,
            "\n".join(table(TASK_HEAD, self.task_rows(), texts=2)),
        ]
        record = json_text(self.record(), indent=2) + "\n"
        try:
            out.mkdir(parents=True, exist_ok=True)
            files = {f"{NAME}.md": "\n\n".join(parts) + "\n", f"{NAME}.json": record}
            write_together(out, files)
        except OSError as error:
            problem = error.strerror or error
            raise UserError(f"{out}: cannot write the summary ({problem})") from None


RUN_HEAD = ("Run", *HEADS.values(), "Borda points", "Borda rank")
TASK_HEAD = ("Task", "Run", *HEADS.values())


def summarize_tasks(runs: Sequence[Path], tasks: Sequence[str] | None = None) -> TaskSummary:
    """The figures of several runs on tasks; on all that all of them have, without `tasks`."""
    names = common_tasks(runs) if tasks is None else tasks
    found = {
        task: tuple(figures(report) for report in common_reports(runs, task)) for task in names
    }
    return TaskSummary(run_names(runs), found)


def write_summary(
    folder: Path, tasks: Sequence[str], model: str, log: Callable[[str], None]
) -> None:
    """Write the summary of an evaluation whose reports are in a folder, and log its figures."""
    of_tasks = {task: (figures(read_report(folder / task / REPORT)),) for task in tasks}
    summary = TaskSummary((model,), of_tasks)
    summary.write(folder)
    for task, _, *maps, distance in summary.task_rows():
        log(f"{task}: mAP {', '.join(maps)}; normalised rank distance {distance}")
    _, *means, _, _, _ = summary.run_rows()[0]
    log(f"mean of {len(tasks)} tasks: mAP {', '.join(means)}; {folder / NAME}.md")


def borda_points(votes: Sequence[Sequence[float | None]], runs: int) -> list[float]:
    """The points of each run: in each vote one for every run with a lower value, half if equal."""
    points = np.zeros(runs)
    for vote in votes:
        values = np.array(vote, dtype=float)
        below, equal = values[:, None] > values, values[:, None] == values
        points += below.sum(1) + (equal.sum(1) - 1) / 2
    return [float(value) for value in points]


def borda_ranks(points: Sequence[float]) -> list[int]:
    """Ranks from 1, the most points first; equal points share the best rank."""
    return [1 + sum(other > value for other in points) for value in points]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=cell(title) if title else None, title_justify="left")
    for name in head:
        is_text = name in ("Run", "Task")
        table.add_column(name, justify="left" if is_text else "right")
    for row in rows:
        table.add_row(*map(cell, row))
    return table
