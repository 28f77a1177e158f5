"""Show a running or finished run in the terminal: `hybrid-dist watch RUN`.

Reads the run folder and nothing else, so it works on any machine that sees it.
"""

import fcntl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hybrid_dist.config.resolve import from_yaml
from hybrid_dist.config.schema import DEV_LOSS, Config, Run
from hybrid_dist.errors import UserError
from hybrid_dist.text import cell, printable
from hybrid_dist.tracking.curves import curve
from hybrid_dist.tracking.metrics_log import MetricsLog, Record
from hybrid_dist.training.run_folder import RunFolder

WIDTH, HEIGHT = 60, 8
"""Letters of a curve."""
SECONDS_BETWEEN_LOOKS = 2
FRESH = 30
"""Seconds after its last word for which a run is taken to be running without a look at its lock."""
SPEED = (
    ("system/pairs_per_s", "pairs/s", "{:,.0f}"),
    ("system/tokens_per_s", "tokens/s", "{:,.0f}"),
    ("system/step_ms", "ms a step", "{:,.0f}"),
    ("system/data_wait_pct", "waiting for data", "{:.1f}%"),
    ("system/mfu_pct", "MFU", "{:.1f}%"),
    ("system/memory_gib", "peak memory", "{:.1f} GiB"),
)
RUNNING = "running"
LARGEST = 1e100
"""Of values that a curve shows: differences and sums of them are finite."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show how a run stands: its state, curves, mix of batches, last evaluation and speed.

    Example: hybrid-dist watch runs/hybrid --follow
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    follow: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on showing it until the run ends."""


@dataclass(frozen=True)
class RunStatus:
    """What the folder of a run says."""

    config: Config
    records: list[Record]
    problems: list[str]
    """What is wrong with lines of metrics.jsonl."""
    state: str
    why: str = ""

    @classmethod
    def read(cls, path: Path) -> "RunStatus":
        if not (path / "config.yaml").is_file():
            raise UserError(f"{path}: is no run folder (it has no config.yaml)")
        path = path.resolve()  # `.` has a name, too
        config = from_yaml(path / "config.yaml")
        config = replace(config, run=Run(dir=str(path.parent), name=path.name))
        folder = RunFolder(config)
        records, problems = MetricsLog(folder.metrics).scan()
        return cls(config, records, problems, *_state(config, folder, records))

    @property
    def step(self) -> int:
        return max((record["step"] for record in self.records), default=0)

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of a figure, where it is a number."""
        known = [r for r in self.records if _is_drawn(r.get(name))]
        return [r["step"] for r in known], [r[name] for r in known]

    @property
    def metric(self) -> str:
        """The figure that chooses the best checkpoint, as records name it; empty: there is none."""
        if not self.config.eval.tasks or self.config.eval.metric == DEV_LOSS:
            return DEV_LOSS if self.config.data.dev else ""
        name, _, figure = self.config.eval.metric.rpartition("/")
        return f"eval/{name or self.config.eval.tasks[0].partition(':')[0]}/{figure}"

    def last(self, name: str) -> Record:
        """The last record that has a figure."""
        return next((r for r in reversed(self.records) if name in r), {})


def main(args: Sequence[str], program: str = "hybrid-dist watch") -> None:
    options = tyro.cli(Options, args=args, prog=program)
    console = Console()
    standing = RunStatus.read(options.run)
    if not console.is_terminal:
        for line in _lines(standing):
            print(printable(line), flush=True)
        if options.follow:
            _tell_records(options.run, standing)
        return
    if not options.follow or standing.state != RUNNING:
        console.print(_screen(standing))
        return
    with Live(_screen(standing), console=console, auto_refresh=False) as live:
        try:
            while standing.state == RUNNING:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                standing = RunStatus.read(options.run)
                live.update(_screen(standing), refresh=True)
        except KeyboardInterrupt:
            return


def _tell_records(path: Path, standing: RunStatus) -> None:
    """A line for every record that comes, until the run ends."""
    shown = standing.step
    while standing.state == RUNNING:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        standing = RunStatus.read(path)
        for record in standing.records:
            if record["step"] > shown:
                print(printable(_line(record)), flush=True)
        shown = max(shown, standing.step)
    print(printable(_headline(standing)), flush=True)


def _state(config: Config, folder: RunFolder, records: list[Record]) -> tuple[str, str]:
    """running, interrupted, finished or failed; and what is known of why."""
    if folder.interrupted.exists():
        return "interrupted", "the same command goes on from there"
    if _is_finished(config, folder, records):
        return "finished", ""
    if _is_running(folder):
        return RUNNING, ""
    if folder.not_finite.exists():
        return "failed", f"train/loss was not finite ({folder.not_finite.name} has the batch)"
    return "failed", "its process is gone; the same command goes on from the last checkpoint"


def _is_finished(config: Config, folder: RunFolder, records: list[Record]) -> bool:
    """Whether what a run leaves at its end is there, and not from before it went on."""
    names = [task.partition(":")[0] for task in config.eval.tasks]
    left = [folder.evaluation() / name / "report.json" for name in names] or [folder.model]
    written = [_time_of(file) for file in left]
    if not all(written):
        return False
    done = bool(records) and records[-1]["step"] >= config.train.steps
    newest = _time_of(folder.metrics)
    return done or all(time_of >= newest for time_of in written)


def _time_of(file: Path) -> float:
    """When a file was last changed; 0 where there is none, as while a report is replaced."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _is_running(folder: RunFolder) -> bool:
    """A process trains in it: it spoke a moment ago, or it holds the lock."""
    spoke = max(map(_time_of, (folder.metrics, folder.path / "environment.json")))
    if time.time() - spoke < FRESH:
        return True
    try:
        with (folder.path / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _headline(standing: RunStatus) -> str:
    steps, name = standing.config.train.steps, standing.config.run.name
    text = f"{name}: {standing.state}, step {standing.step:,} of {steps:,}"
    step_ms = standing.last("system/step_ms").get("system/step_ms")
    if standing.state == RUNNING and step_ms is not None:
        left = step_ms / 1000 * (steps - standing.step)
        if 0 <= left < timedelta.max.total_seconds():
            text += f", {timedelta(seconds=round(left))} left"
    return f"{text} ({standing.why})" if standing.why else text


def _line(record: Record) -> str:
    """A record in a line."""
    shown = ("train/loss", "train/kind", "train/accuracy", "system/pairs_per_s")
    parts = [f"{name.partition('/')[2]} {_show(record[name])}" for name in shown if name in record]
    parts += [f"{name} {_show(value)}" for name, value in _evaluated(record).items()]
    return f"step {record['step']}  {'  '.join(parts)}"


def _show(value: Any) -> str:
    """A dash where there is no number."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _speed(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _is_drawn(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST


def _evaluated(record: Record) -> Record:
    return {name: v for name, v in record.items() if name.startswith(("eval/", "dev/"))}


def _lines(standing: RunStatus) -> Iterator[str]:
    """Everything, plain."""
    yield _headline(standing)
    for name in filter(None, ("train/loss", standing.metric)):
        steps, values = standing.series(name)
        every = max(1, len(steps) // 10)
        kept = [*zip(steps[::-every], values[::-every], strict=True)][::-1]
        if kept:
            yield f"{name}: " + ", ".join(f"{step} {value:.4g}" for step, value in kept)
    for title, rows in _tables(standing):
        yield f"{title}: " + ", ".join(" ".join(row) for row in rows)
    yield from _damage(standing)


def _damage(standing: RunStatus) -> Iterator[str]:
    if standing.problems:
        yield (
            f"metrics.jsonl: {len(standing.problems):,} lines cannot be read and are left out "
            f"(the first: {standing.problems[0]})"
        )


def _screen(standing: RunStatus) -> RenderableType:
    """Everything, for a terminal."""
    colour = {RUNNING: "green", "finished": "cyan", "failed": "red"}.get(standing.state, "yellow")
    parts: list[RenderableType] = [cell(_headline(standing), f"bold {colour}")]
    for name in filter(None, ("train/loss", standing.metric)):
        steps, values = standing.series(name)
        if len(steps) > 1:
            parts += ["", _drawn(name, steps, values, standing.config.train.steps)]
    tables = []
    for title, rows in _tables(standing):
        table = Table(title=cell(title), title_justify="left", show_header=False, box=None)
        for row in rows:
            table.add_row(*map(cell, row))
        tables.append(table)
    damage = [cell(line, "red") for line in _damage(standing)]
    return Group(*parts, "", Columns(tables, padding=(0, 4)), *damage)


def _drawn(name: str, steps: list[float], values: list[float], last: int) -> RenderableType:
    lines = curve(steps, values, last, WIDTH, HEIGHT)
    grid = Table.grid(padding=(0, 1))
    edges = {0: f"{max(values):.4g}", len(lines) - 1: f"{min(values):.4g}"}
    for number, line in enumerate(lines):
        grid.add_row(Text(edges.get(number, ""), justify="right"), Text(line, style="blue"))
    grid.add_row("", Text(f"0{last:>{WIDTH - 1},}", style="dim"))
    return Group(cell(f"{name}  {values[-1]:.4g}", "bold"), grid)


def _tables(standing: RunStatus) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """What there is of the mix, the last evaluation and the speed."""
    made = standing.last("system/pairs_per_s")
    batches = {k: v for k, v in made.items() if k.startswith("train/batches/") and v is not None}
    total = sum(batches.values()) or 1
    if batches:
        rows = list[tuple[str, ...]]()
        for name, count in batches.items():
            kind = name.rpartition("/")[2]
            loss = standing.last(f"train/loss/{kind}").get(f"train/loss/{kind}")
            text = "" if loss is None else f"loss {loss:.4g}"
            rows.append((kind, f"{count:,}", f"{count / total:.0%}", text))
        yield "batches", rows
    evaluated = standing.last(standing.metric) if standing.metric else {}
    if evaluated:
        figures = _evaluated(evaluated)
        yield (
            f"evaluation at step {evaluated['step']:,}",
            [(name, _show(value)) for name, value in figures.items()],
        )
    if made:
        speed = [(label, _speed(made[name], form)) for name, label, form in SPEED if name in made]
        if made.get("train/skipped"):
            speed.append(("updates left out", str(made["train/skipped"])))
        yield "speed", [*speed]
