"""A run in the terminal: curves and tables, or plain lines where the output is no terminal."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hybrid_dist.reporting.run_status import RUNNING, RunStatus
from hybrid_dist.text import cell, printable
from hybrid_dist.tracking.curves import curve
from hybrid_dist.tracking.metrics_log import Record, evaluated_figures

WIDTH, HEIGHT = 60, 8
"""Letters of a curve."""
SECONDS_BETWEEN_UPDATES = 2
SPEED = (
    ("system/pairs_per_s", "pairs/s", "{:,.0f}"),
    ("system/tokens_per_s", "tokens/s", "{:,.0f}"),
    ("system/step_ms", "ms a step", "{:,.0f}"),
    ("system/data_wait_pct", "waiting for data", "{:.1f}%"),
    ("system/mfu_pct", "MFU", "{:.1f}%"),
    ("system/memory_gib", "peak memory", "{:.1f} GiB"),
)


def show(path: Path, follow: bool) -> None:
    """Print the status of the run in a folder; with `follow`, go on until the run ends."""
    console = Console()
    status = RunStatus.read(path)
    if not console.is_terminal:
        for line in lines(status):
            print(printable(line), flush=True)
        if follow:
            _print_new_records(path, status)
    elif not follow or status.state != RUNNING:
        console.print(screen(status))
    else:
        _update_screen(console, path, status)


def _update_screen(console: Console, path: Path, status: RunStatus) -> None:
    with Live(screen(status), console=console, auto_refresh=False) as live:
        try:
            while status.state == RUNNING:
                time.sleep(SECONDS_BETWEEN_UPDATES)
                status = RunStatus.read(path)
                live.update(screen(status), refresh=True)
        except KeyboardInterrupt:
            return


def _print_new_records(path: Path, status: RunStatus) -> None:
    """A line for every new record, until the run ends."""
    shown = status.step
    while status.state == RUNNING:
        time.sleep(SECONDS_BETWEEN_UPDATES)
        status = RunStatus.read(path)
        for record in status.records:
            if record["step"] > shown:
                print(printable(_line(record)), flush=True)
        shown = max(shown, status.step)
    print(printable(_headline(status)), flush=True)


def _headline(status: RunStatus) -> str:
    steps, name = status.config.train.steps, status.config.run.name
    text = f"{name}: {status.state}, step {status.step:,} of {steps:,}"
    step_ms = status.last("system/step_ms").get("system/step_ms")
    if status.state == RUNNING and step_ms is not None:
        left = step_ms / 1000 * (steps - status.step)
        if 0 <= left < timedelta.max.total_seconds():
            text += f", {timedelta(seconds=round(left))} left"
    return f"{text} ({status.why})" if status.why else text


def _line(record: Record) -> str:
    """A record in a line."""
    shown = ("train/loss", "train/kind", "train/accuracy", "system/pairs_per_s")
    parts = [f"{name.partition('/')[2]} {_show(record[name])}" for name in shown if name in record]
    parts += [f"{name} {_show(value)}" for name, value in evaluated_figures(record).items()]
    return f"step {record['step']}  {'  '.join(parts)}"


def _show(value: Any) -> str:
    """A dash where there is no number."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _speed(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def lines(status: RunStatus) -> Iterator[str]:
    """Everything, as plain lines."""
    yield _headline(status)
    for name in filter(None, ("train/loss", status.metric)):
        steps, values = status.series(name)
        every = max(1, len(steps) // 10)
        kept = [*zip(steps[::-every], values[::-every], strict=True)][::-1]
        if kept:
            yield f"{name}: " + ", ".join(f"{step} {value:.4g}" for step, value in kept)
    for title, rows in _tables(status):
        yield f"{title}: " + ", ".join(" ".join(row) for row in rows)
    yield from _damage(status)


def _damage(status: RunStatus) -> Iterator[str]:
    if status.problems:
        yield (
            f"metrics.jsonl: {len(status.problems):,} lines cannot be read and are left out "
            f"(the first: {status.problems[0]})"
        )


def screen(status: RunStatus) -> RenderableType:
    """Everything, for a terminal."""
    colour = {RUNNING: "green", "finished": "cyan", "failed": "red"}.get(status.state, "yellow")
    parts: list[RenderableType] = [cell(_headline(status), f"bold {colour}")]
    for name in filter(None, ("train/loss", status.metric)):
        steps, values = status.series(name)
        if len(steps) > 1:
            parts += ["", _curve(name, steps, values, status.config.train.steps)]
    tables = []
    for title, rows in _tables(status):
        table = Table(title=cell(title), title_justify="left", show_header=False, box=None)
        for row in rows:
            table.add_row(*map(cell, row))
        tables.append(table)
    damage = [cell(line, "red") for line in _damage(status)]
    return Group(*parts, "", Columns(tables, padding=(0, 4)), *damage)


def _curve(name: str, steps: list[float], values: list[float], last: int) -> RenderableType:
    rows = curve(steps, values, last, WIDTH, HEIGHT)
    grid = Table.grid(padding=(0, 1))
    edges = {0: f"{max(values):.4g}", len(rows) - 1: f"{min(values):.4g}"}
    for number, line in enumerate(rows):
        grid.add_row(Text(edges.get(number, ""), justify="right"), Text(line, style="blue"))
    grid.add_row("", Text(f"0{last:>{WIDTH - 1},}", style="dim"))
    return Group(cell(f"{name}  {values[-1]:.4g}", "bold"), grid)


def _tables(status: RunStatus) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """What there is of the mix, the last evaluation and the speed."""
    latest = status.last("system/pairs_per_s")
    batches = {k: v for k, v in latest.items() if k.startswith("train/batches/") and v is not None}
    total = sum(batches.values()) or 1
    if batches:
        rows = list[tuple[str, ...]]()
        for name, count in batches.items():
            kind = name.rpartition("/")[2]
            loss = status.last(f"train/loss/{kind}").get(f"train/loss/{kind}")
            text = "" if loss is None else f"loss {loss:.4g}"
            rows.append((kind, f"{count:,}", f"{count / total:.0%}", text))
        yield "batches", rows
    evaluated = status.last(status.metric) if status.metric else {}
    if evaluated:
        figures = evaluated_figures(evaluated)
        yield (
            f"evaluation at step {evaluated['step']:,}",
            [(name, _show(value)) for name, value in figures.items()],
        )
    if latest:
        speed = [
            (label, _speed(latest[name], form)) for name, label, form in SPEED if name in latest
        ]
        if latest.get("train/skipped"):
            speed.append(("updates left out", str(latest["train/skipped"])))
        yield "speed", [*speed]
