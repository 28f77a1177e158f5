"""The tables of a study's report, once as rows, and from these as Markdown, HTML and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from hybrid_dist.reporting import html
from hybrid_dist.reporting.tables import booktabs, show
from hybrid_dist.studies.cells import Cell, Grid, matches
from hybrid_dist.studies.run_states import RunState
from hybrid_dist.studies.study_file import Trend
from hybrid_dist.studies.study_plots import figure_name
from hybrid_dist.studies.study_results import TaskResults, lower_is_better
from hybrid_dist.studies.study_statistics import SIGNIFICANCE, Effect, Summary, optimum, slope
from hybrid_dist.text import latex, markdown, printable


@dataclass(frozen=True)
class ReportTable:
    """A table: the second line of a cell is small."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marks: Sequence[Sequence[bool | str]]
    """The cells to highlight, or "better" and "worse" for differences."""
    note: str = ""

    def markdown(self) -> str:
        lines = [list(map(markdown, self.head)), ["---", *("---:" for _ in self.head[1:])]]
        for row, marked in zip(self.rows, self.marks, strict=True):
            cells = []
            for text, mark in zip(row, marked, strict=True):
                first, second = map(markdown, text.partition("\n")[::2])
                first = f"**{first}**" if mark else first
                cells.append(f"{first} ({second})" if second else first)
            lines.append(cells)
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(
            part for part in (f"### {markdown(self.title)}", table, self.note) if part
        )

    def html(self) -> str:
        head = [(name, "") for name in self.head]
        return html.heading(self.title, self.note) + html.table(
            head, self.rows, self.title, self.marks
        )

    def terminal(self) -> Table:
        """The first lines of the cells, without intervals, for a terminal."""
        table = Table(title=Text(printable(self.title)), title_justify="left")
        for number, name in enumerate(self.head):
            table.add_column(Text(printable(name)), justify="right" if number else "left")
        for row, marked in zip(self.rows, self.marks, strict=True):
            lines = [printable(text.partition("\n")[0]) for text in row]
            pairs = zip(lines, marked, strict=True)
            table.add_row(*(Text(line, "bold" if mark else "") for line, mark in pairs))
        return table

    def latex(self) -> str:
        return booktabs(latex(self.title), self.head, self.rows, self.marks)


def digits_of(figure: str) -> int:
    """Decimals of a figure: one for ranks and distances."""
    ranks = ("bias.rank_distance.mean", "bias.worst_rank")
    return 1 if figure.startswith(ranks) else 3


def shown(figure: str, value: float, signed: bool = False) -> str:
    """A figure as tables show it."""
    sign = "+" if signed and value > 0 else ""
    return sign + show(value, digits_of(figure))


def interval_text(figure: str, low: float, high: float) -> str:
    return f"{shown(figure, low)} to {shown(figure, high)}"


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


FIGURES_NOTE = (
    "Means over seeds ± the standard deviation over seeds. In small print: the 95% interval of the "
    "mean under draws of query ids, for the same trained models. The best mean is highlighted."
)


def figures_table(grid: Grid, results: TaskResults, states: Sequence[RunState]) -> ReportTable:
    """Every cell's figures; cells without any, because their runs failed or wait, are there too."""
    summaries = {figure: results.summaries(figure) for figure in results.values}
    best = {figure: _best(figure, by_cell) for figure, by_cell in summaries.items()}
    rows, marks = [], []
    for cell in grid.cells:
        row, marked = [cell.name, _runs_text(grid, cell, results, states)], [False, False]
        for figure, by_cell in summaries.items():
            summary = by_cell.get(cell.name)
            row.append("-" if summary is None else _summary_text(figure, summary))
            marked.append(cell.name in best[figure])
        rows.append(row)
        marks.append(marked)
    return ReportTable(
        f"{results.label}: {results.size}",
        ["Cell", "Seeds", *map(_head, summaries)],
        rows,
        marks,
        FIGURES_NOTE,
    )


def _runs_text(grid: Grid, cell: Cell, results: TaskResults, states: Sequence[RunState]) -> str:
    """How many seeds a cell has, of how many, and what became of the others."""
    seeds = results.seeds.get(cell.name, ())
    if cell.is_untrained:
        return "no training" if seeds else "not evaluated"
    wanted = [run for run in grid.runs(cell) if results.label in run.tasks]
    names = {run.name for run in wanted}
    failed = sum(state.state == "failed" for state in states if state.run.name in names)
    text = f"{len(seeds)} of {len(wanted)}"
    return text + (f"\n{failed} failed" if failed else "")


def _summary_text(figure: str, summary: Summary) -> str:
    text = shown(figure, summary.mean)
    if summary.deviation is not None:
        text += f" ± {shown(figure, summary.deviation)}"
    return f"{text}\n{interval_text(figure, *summary.query_interval)}"


def _head(figure: str) -> str:
    name = figure_name(figure)
    return name[0].upper() + name[1:] if name[1:2].islower() and name[:1] != "m" else name


def _best(figure: str, by_cell: dict[str, Summary]) -> set[str]:
    if len(by_cell) < 2:
        return set()
    choose = min if lower_is_better(figure) else max
    best = shown(figure, choose(summary.mean for summary in by_cell.values()))
    return {cell for cell, summary in by_cell.items() if shown(figure, summary.mean) == best}


def effects_table(
    grid: Grid, results: TaskResults, effects: dict[tuple[str, str], Effect]
) -> ReportTable | None:
    """The differences from the baseline."""
    cells = [cell.name for cell in grid.cells if any(cell.name == name for name, _ in effects)]
    if not cells:
        return None
    rows, marks = [], []
    for cell in cells:
        row, marked = [cell], [""]
        for figure in results.values:
            effect = effects.get((cell, figure))
            row.append("-" if effect is None else _effect_text(figure, effect))
            marked.append("" if effect is None else _verdict(figure, effect))
        rows.append(row)
        marks.append(marked)
    levels = sorted({effect.level for effect in effects.values()})
    note = (
        f"Each cell minus {grid.baseline_name}, seed by seed. In small print: the 95% interval of "
        "the two-level bootstrap (seeds, then query ids); p of a paired test on "
        f"{' or '.join(levels)}, after Holm's correction for the {len(effects)} differences of "
        "this table; Hedges' g over seeds. ▲ is better and ▼ worse with p below 0.05 after "
        "correction, else ○."
    )
    if "queries only" in levels:
        note += (
            " Where p is marked q there are fewer than five seeds: it accounts for the queries "
            "only, and says nothing about other seeds."
        )
    return ReportTable(
        f"{results.label}: differences from {grid.baseline_name}",
        ["Cell", *map(_head, results.values)],
        rows,
        marks,
        note,
    )


def _effect_text(figure: str, effect: Effect) -> str:
    p = p_text(effect.p_holm) + (" q" if effect.level == "queries only" else "")
    size = "" if effect.size is None else f"; g {effect.size:.1f}"
    interval = interval_text(figure, effect.low, effect.high)
    symbol = {"better": "▲", "worse": "▼"}.get(_verdict(figure, effect), "○")
    return f"{symbol} {shown(figure, effect.value, signed=True)}\n{interval}; {p}{size}"


def _verdict(figure: str, effect: Effect) -> str:
    """better or worse; empty where the difference is not significant."""
    if effect.p_holm >= SIGNIFICANCE or effect.value == 0:
        return ""
    return "better" if (effect.value < 0) == lower_is_better(figure) else "worse"


def trend_tables(grid: Grid, results: TaskResults) -> list[ReportTable]:
    """For every trend: the optimum, plateau and slope of each figure."""
    return [table for trend in grid.study.trends if (table := _trend_table(trend, grid, results))]


def trend_cells(
    trend: Trend, grid: Grid, results: TaskResults, figure: str
) -> dict[str, list[Cell]]:
    """The cells that a trend is worked out from, by line, in the order of its key."""
    lines: dict[str, list[Cell]] = {}
    for cell in grid.cells:
        if matches(cell, trend.only) and cell.name in results.values[figure]:
            lines.setdefault(cell.label(trend.by) if trend.by else "all", []).append(cell)
    for cells in lines.values():
        cells.sort(key=lambda cell: float(cell.value(trend.x)))
    return {label: cells for label, cells in lines.items() if len(cells) > 1}


def _trend_table(trend: Trend, grid: Grid, results: TaskResults) -> ReportTable | None:
    rows = []
    for figure, by_cell in results.values.items():
        for label, cells in trend_cells(trend, grid, results, figure).items():
            x = [float(cell.value(trend.x)) for cell in cells]
            if len(set(x)) < 2:
                continue
            curves = [by_cell[cell.name] for cell in cells]
            best = optimum(x, curves, lower_is_better(figure))
            steep = slope(x, curves)
            rows.append(
                [
                    figure_name(figure),
                    label,
                    f"{best.best:g}\n{best.low:g} to {best.high:g}",
                    ", ".join(f"{place:g}" for place in best.plateau),
                    f"{shown(figure, steep.value, signed=True)}\n"
                    f"{interval_text(figure, steep.low, steep.high)}",
                ]
            )
    if not rows:
        return None
    note = (
        f"Best: the value of {trend.x} with the best mean, and the central 95% of the best over "
        "draws of seeds and query ids. Not distinguishable: the values whose difference from the "
        "best has an interval with 0. Slope: per unit, by least squares. Intervals over few seeds "
        "are too narrow."
    )
    return ReportTable(
        f"{results.label}: over {trend.x}",
        ["Figure", ", ".join(trend.by) or "Cells", "Best", "Not distinguishable", "Slope"],
        rows,
        [[False] * 5 for _ in rows],
        note,
    )


def published_table(grid: Grid, results: TaskResults) -> ReportTable | None:
    """The study's figures beside published ones."""
    published = grid.study.published
    if published is None:
        return None
    rows = []
    for cell, by_task in published.cells.items():
        for figure, theirs in by_task.get(results.label, {}).items():
            values = results.values.get(figure, {}).get(cell)
            ours = None if values is None else float(values[:, 0].mean())
            rows.append(
                [
                    cell,
                    figure_name(figure),
                    "-" if ours is None else shown(figure, ours),
                    shown(figure, theirs),
                    "-" if ours is None else shown(figure, ours - theirs, signed=True),
                ]
            )
    if not rows:
        return None
    return ReportTable(
        f"{results.label}: beside published figures",
        ["Cell", "Figure", "Here", "Published", "Difference"],
        rows,
        [[False] * 5 for _ in rows],
        f"Published: {published.source}.",
    )


def failures_table(states: Sequence[RunState]) -> ReportTable | None:
    """The runs that failed or are not finished, and why."""
    rows = [
        [state.run.name, state.state, printable(state.reason or "-")]
        for state in states
        if state.state != "finished"
    ]
    if not rows:
        return None
    return ReportTable(
        "Runs that are not finished",
        ["Run", "State", "Reason"],
        rows,
        [[False] * 3 for _ in rows],
        "Their output is in logs/.",
    )
