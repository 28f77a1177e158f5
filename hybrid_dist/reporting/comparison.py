"""Comparison of runs: the paper's table of mAP in three settings and the language bias."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bootstrap import Difference
from hybrid_dist.reporting.language_differences import SIGNIFICANCE
from hybrid_dist.reporting.matrix import BETTER, OPEN, SYMBOLS, WORSE
from hybrid_dist.reporting.paired_differences import Paired, pair
from hybrid_dist.reporting.tables import SETTINGS, languages, show
from hybrid_dist.text import cell, printable
from hybrid_dist.tracking.report_json import REPORT, read_report


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    name: str
    figure: str
    digits: int = 3
    lower_is_better: bool = False

    def show(self, value: float | None) -> str:
        return show(value, self.digits)

    def show_signed(self, value: float) -> str:
        return f"{'+' if value > 0 else ''}{self.show(value)}"

    def verdict(self, difference: Difference) -> str:
        """BETTER, WORSE or OPEN."""
        if not difference.p < SIGNIFICANCE or difference.value == 0:
            return OPEN
        return BETTER if (difference.value < 0) == self.lower_is_better else WORSE

    def show_interval(self, low: float, high: float) -> str:
        return f"{self.show(low)} to {self.show(high)}"


COLUMNS = (
    *(Column(f"mAP {label.lower()}", f"map.{key}") for key, label in SETTINGS.items()),
    Column("Rank distance", "bias.rank_distance.mean", 1, lower_is_better=True),
)
WORDS = {BETTER: "better", WORSE: "worse", OPEN: "not significantly different"}
STYLES = {BETTER: "better", WORSE: "worse", OPEN: "open"}
"""Classes of the cells of pages."""
TERMINAL_STYLES = {"better": "bold green", "worse": "bold red", "best": "bold"}


@dataclass(frozen=True)
class Comparison:
    """The reports of several runs on one task."""

    task: str
    runs: tuple[str, ...]
    reports: tuple[dict[str, Any], ...]
    folders: tuple[Path, ...]
    """The folders of the reports."""
    paired: Paired
    """Differences from the first run, query by query."""

    @property
    def counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = self.reports[0]["counts"]
        return counts

    def values(self, column: Column) -> list[float | None]:
        """A column's figure for every run; None where the task has none."""
        return [_value(report, column.figure) for report in self.reports]

    def rows(self) -> list[list[str]]:
        """Run names and figures; the second line of a cell is the interval."""
        columns = [self._cells(column) for column in COLUMNS]
        return [list(row) for row in zip(map(printable, self.runs), *columns, strict=True)]

    def _cells(self, column: Column) -> list[str]:
        cells = []
        for value, report in zip(self.values(column), self.reports, strict=True):
            text = column.show(value)
            if interval := report["intervals"].get(column.figure):
                text += f"\n{column.show_interval(*interval)}"
            cells.append(text)
        return cells

    def best(self) -> list[list[bool]]:
        """Which cells of `rows` are best after rounding; none without a second value."""
        marks = [[False] * len(self.runs)]
        marks += [_best(self.values(column), column) for column in COLUMNS]
        return [list(row) for row in zip(*marks, strict=True)]

    def difference_rows(self) -> list[list[str]]:
        """The name of each paired run, and its differences from the first run."""
        found = self.paired.differences.items()
        return [[printable(run), *difference_cells(row)[0]] for run, row in found]

    def verdicts(self) -> list[list[str]]:
        """The class of each cell of `difference_rows`: better, worse, open or none."""
        return [["", *difference_cells(row)[1]] for row in self.paired.differences.values()]

    def significant(self) -> list[list[bool]]:
        """Which cells of `difference_rows` have a p-value below SIGNIFICANCE."""
        significant = (STYLES[BETTER], STYLES[WORSE])
        return [[style in significant for style in row] for row in self.verdicts()]

    def tables(self) -> list[Table]:
        """Tables for the terminal: the figures, and the differences from the first run."""
        best = [["best" if mark else "" for mark in row] for row in self.best()]
        tables = [_table(f"{self.task}: {self.size()}", self.rows(), best)]
        if self.paired.differences:
            title = f"Differences from {self.runs[0]}"
            tables.append(_table(title, self.difference_rows(), self.verdicts()))
        return tables

    def size(self) -> str:
        """The size of the task in words."""
        counts = self.counts
        return (
            f"{counts['queries']:,} queries, {counts['passages']:,} passages, "
            f"{languages(self.reports[0])} languages"
        )


def difference_cells(differences: Mapping[str, Difference]) -> tuple[list[str], list[str]]:
    """The differences of COLUMNS as text, and the class of each."""
    cells, styles = [], []
    for column in COLUMNS:
        difference = differences.get(column.figure)
        cells.append("-" if difference is None else _difference(difference, column))
        styles.append("" if difference is None else STYLES[column.verdict(difference)])
    return cells, styles


def _difference(difference: Difference, column: Column) -> str:
    symbol = SYMBOLS[column.verdict(difference)]
    interval = column.show_interval(difference.low, difference.high)
    return f"{symbol}{column.show_signed(difference.value)}\n{interval}; {_p_text(difference.p)}"


def _p_text(p: float) -> str:
    if p != p:
        return "no test"
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def _table(title: str, rows: list[list[str]], marks: list[list[str]]) -> Table:
    table = Table(title=cell(title), title_justify="left")
    table.add_column("Run", overflow="fold")
    for column in COLUMNS:
        table.add_column(column.name.replace(" ", "\n", 1), justify="right")
    for row, marked in zip(rows, marks, strict=True):
        cells = []
        for figure, mark in zip(row[1:], marked[1:], strict=True):
            first, _, second = figure.replace("; ", "\n").partition("\n")
            shown = Text(first, TERMINAL_STYLES.get(mark, ""))
            cells.append(shown.append(f"\n{second}", "not bold dim") if second else shown)
        table.add_row(cell(row[0]), *cells)
    return table


def compare(runs: Sequence[Path], task: str | None = None) -> Comparison:
    """Compare the reports of several runs, query by query where they can be paired.

    `task` defaults to the one task that all runs were evaluated on.
    """
    if not runs:
        raise UserError("compare: no run was given; name run folders, such as runs/a runs/b")
    name = task if task is not None else _common_task(runs)
    reports = common_reports(runs, name)
    names = run_names(runs)
    places = tuple(_report(run, name) for run in runs)
    folders = dict(zip(names, places, strict=True))
    ids = {label: report["id"] for label, report in zip(names, reports, strict=True)}
    return Comparison(name, names, reports, places, pair(folders, ids))


def common_reports(runs: Sequence[Path], task: str) -> tuple[dict[str, Any], ...]:
    """The reports of several runs on a task; refuses those on other data."""
    reports = tuple(_read(run, task) for run in runs)
    for run, report in zip(runs, reports, strict=True):
        if (report["task"], report["counts"]) != (reports[0]["task"], reports[0]["counts"]):
            raise UserError(
                f"{run}: its task {task} is not that of {runs[0]} "
                f"({_size(report)} there, {_size(reports[0])} here); evaluate both on the same data"
            )
    return reports


def _common_task(runs: Sequence[Path]) -> str:
    common = common_tasks(runs)
    if len(common) > 1:
        raise UserError(
            f"compare: the runs have {len(common)} tasks in common ({', '.join(common)}); name one"
        )
    return common[0]


def common_tasks(runs: Sequence[Path]) -> list[str]:
    """The names of the tasks that all runs have reports on; a UserError if there are none."""
    tasks = [_tasks(run) for run in runs]
    for run, names in zip(runs, tasks, strict=True):
        if not names:
            raise UserError(
                f"{run}: no report at {_reports(run)}/NAME/report.json; name a run trained with "
                "eval.tasks, or a folder that `hybrid-dist evaluate --out` wrote"
            )
    common = sorted(set.intersection(*tasks)) if tasks else []
    if not common:
        listed = "; ".join(
            f"{run}: {', '.join(sorted(t))}" for run, t in zip(runs, tasks, strict=True)
        )
        raise UserError(
            f"compare: the runs have no tasks in common ({listed}); name runs of one task"
        )
    return common


def _tasks(run: Path) -> set[str]:
    """The names of the tasks that a run has reports on."""
    if _is_report(run):
        return {str(read_report(run / REPORT)["task"])}
    return {file.parent.name for file in _files(run)}


def _files(run: Path) -> list[Path]:
    return list(_reports(run).glob(f"[!.]*/{REPORT}"))  # drafts start with a dot


def _is_report(run: Path) -> bool:
    """Whether this is the folder of one report. A comparison leaves a file of that name beside the
    reports that it compares."""
    return (run / REPORT).is_file() and not _files(run)


def _report(run: Path, task: str) -> Path:
    """The folder of a report: that of the task, or the given folder if it is one."""
    return run if _is_report(run) else _reports(run) / task


def _reports(run: Path) -> Path:
    """The folder of reports: eval/ in a run folder, else the folder itself."""
    return run / "eval" if (run / "config.yaml").exists() or (run / "eval").is_dir() else run


def _read(run: Path, task: str) -> dict[str, Any]:
    file = _report(run, task) / REPORT
    if not file.is_file():
        raise UserError(f"{run}: no report at {file}; evaluate the run on {task} first")
    report = read_report(file)
    if report["task"] != task and file.parent == run:
        raise UserError(f"{run}: is the report on {report['task']}, not on {task}")
    return report


def _size(report: dict[str, Any]) -> str:
    counts = report["counts"]
    return f"{report['task']}, {counts['queries']:,} queries, {counts['passages']:,} passages"


def run_names(runs: Sequence[Path]) -> tuple[str, ...]:
    """Each run's folder name, with as many parent folders as make the names distinct."""
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
    node: Any = report
    for key in name.split("."):
        node = node[key]
    value: float | None = node
    return value


def _best(values: Sequence[float | None], column: Column) -> list[bool]:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return [False] * len(values)
    best = column.show(min(known) if column.lower_is_better else max(known))
    return [value is not None and column.show(value) == best for value in values]
