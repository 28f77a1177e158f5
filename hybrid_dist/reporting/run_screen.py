"""A run on a terminal's screen: its figures, and curves where there is room for them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hybrid_dist.reporting.run_status import RUNNING, RunStatus
from hybrid_dist.reporting.run_view import damage, headline, mix, shown_figure, speed
from hybrid_dist.text import cell
from hybrid_dist.tracking.curves import curve
from hybrid_dist.tracking.metrics_log import evaluated_figures

WIDTH, HEIGHT = 60, 8
"""The most letters of a curve."""
LEAST_WIDTH, LEAST_HEIGHT = 20, 3
AROUND_CURVE = 2
"""Lines of a curve's name and of its axis."""
LABEL = 8
"""Letters beside a curve: its highest and lowest value, and a space."""
FIGURES = {
    "map.monolingual": "mAP monolingual",
    "map.cross_lingual": "cross-lingual",
    "map.multilingual": "multilingual",
    "bias.rank_distance.mean": "rank distance",
}
"""What training logs of a task."""


def screen(status: RunStatus, console: Console) -> RenderableType:
    """Everything that fits: first the figures, then as many tasks and curves as there is room."""
    colour = {RUNNING: "green", "finished": "cyan", "failed": "red"}.get(status.state, "yellow")
    first: list[RenderableType] = [cell(headline(status), f"bold {colour}")]
    last = [cell(line, "red") for line in damage(status)]
    beside = [_table("batches", mix(status)), _table("speed", speed(status))]
    if tables := [table for table in beside if table is not None]:
        first.append(Columns(tables, padding=(0, 4)))
    room = console.height - 1 - _lines(console, [*first, *last])  # a line for what comes after
    evaluated = list(_evaluation(status, room))
    room -= _lines(console, evaluated)
    return Group(*first, *evaluated, *_curves(status, console.width, room), *last)


def _lines(console: Console, parts: Sequence[RenderableType]) -> int:
    return len(console.render_lines(Group(*parts))) if parts else 0


def _table(title: str, rows: Iterable[Sequence[str]]) -> Table | None:
    table = Table(title=cell(title), title_justify="left", show_header=False, box=None)
    for row in rows:
        table.add_row(*map(cell, row))
    return table if table.rows else None


def _evaluation(status: RunStatus, room: int) -> Iterator[RenderableType]:
    """A row for each task, and a line of other figures."""
    evaluated = status.last(status.metric) if status.metric else {}
    if not evaluated:
        return
    others, tasks = list[str](), dict[str, dict[str, str]]()
    for name, value in evaluated_figures(evaluated).items():
        task, _, figure = name.removeprefix("eval/").partition("/")
        if name.startswith("eval/") and figure:
            tasks.setdefault(task, {})[figure] = shown_figure(value)
        else:
            others.append(f"{name} {shown_figure(value)}")
    if tasks:
        yield _by_task(f"evaluation at step {evaluated['step']:,}", tasks, room - 3)
    if others:
        yield cell("  ".join(others))


def _by_task(title: str, tasks: Mapping[str, Mapping[str, str]], room: int) -> Table:
    """A row for each task that there is room for; one at least."""
    known = {figure for figures in tasks.values() for figure in figures}
    columns = [*(name for name in FIGURES if name in known), *sorted(known - FIGURES.keys())]
    table = Table(title=cell(title), title_justify="left", box=None)
    table.add_column("")
    for name in columns:
        table.add_column(cell(FIGURES.get(name, name)), justify="right")
    shown = list(tasks)[: max(1, room if room >= len(tasks) else room - 1)]
    for task in shown:
        table.add_row(cell(task), *(cell(tasks[task].get(name, "")) for name in columns))
    if left := len(tasks) - len(shown):
        table.add_row(cell(f"and {left} more"))
    return table


def _curves(status: RunStatus, width: int, room: int) -> Iterator[RenderableType]:
    """The loss and the figure that chooses the best checkpoint, side by side, if they fit."""
    named = [(name, *status.series(name)) for name in ("train/loss", status.metric) if name]
    drawn = [one for one in named if len(one[1]) > 1]
    height = min(HEIGHT, room - AROUND_CURVE)
    if not drawn or height < LEAST_HEIGHT:
        return
    fitting = max(1, min(len(drawn), (width + 2) // (LEAST_WIDTH + LABEL + 2)))
    letters = min(WIDTH, (width + 2) // fitting - LABEL - 2)
    grid = Table.grid(padding=(0, 2, 0, 0))
    steps = status.config.train.steps
    grid.add_row(
        *(_curve(name, at, values, steps, letters, height) for name, at, values in drawn[:fitting])
    )
    yield grid


def _curve(
    name: str, steps: list[float], values: list[float], last: int, width: int, height: int
) -> RenderableType:
    rows = curve(steps, values, last, width, height)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=LABEL - 1, justify="right", no_wrap=True)
    edges = {0: f"{max(values):.4g}", len(rows) - 1: f"{min(values):.4g}"}
    for number, line in enumerate(rows):
        grid.add_row(Text(edges.get(number, "")), Text(line, style="blue"))
    grid.add_row("", Text(f"0{last:>{width - 1},}", style="dim"))
    title = cell(f"{name}  {values[-1]:.4g}", "bold")
    title.truncate(LABEL + width, overflow="ellipsis")
    return Group(title, grid)
