"""Progress of training on the first rank: a live line on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hybrid_dist.runtime.progress_bar import shown
from hybrid_dist.text import printable, without_secrets
from hybrid_dist.tracking.metrics_log import Record, evaluated_figures

SECONDS_BETWEEN_LINES = 10
REDRAWN_PER_SECOND = 2
"""Drawing the live line takes milliseconds of the training process."""


class Terminal:
    """Silent on all ranks but the first."""

    def __init__(self, name: str, steps: int, speaks: bool) -> None:
        self._name, self._steps, self._speaks, self._last = name, steps, speaks, time.monotonic()
        self._console = Console(file=sys.stderr, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (speaks and self._console.is_terminal),
            refresh_per_second=REDRAWN_PER_SECOND,
            transient=True,
        )
        self._task = self._bar.add_task(printable(name), total=steps, figures="")
        self._figures = ""

    def __enter__(self) -> "Terminal":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        if self._speaks:
            line = printable(f"{self._name}: {without_secrets(message)}")
            self._console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def parts(self) -> Iterator[None]:
        """Show the progress of long parts that run inside, such as an evaluation, in place of the
        figures: 80 columns have no room for both."""
        figures = self._figures
        self._show_figures("")
        with shown(self._speaks, self._bar, self.say):
            yield
        self._show_figures(figures)

    def _show_figures(self, figures: str) -> None:
        self._figures = figures
        self._bar.update(self._task, figures=figures)

    def step(self, step: int) -> None:
        self._bar.update(self._task, completed=step)

    def show(self, record: Record) -> None:
        """Show the figures of a logged step or of an evaluation."""
        if evaluated := evaluated_figures(record):
            text = "  ".join(
                f"{name.removeprefix('eval/')} {_figure(v)}" for name, v in evaluated.items()
            )
            self.say(f"step {record['step']}/{self._steps}  {text}")
        if "system/pairs_per_s" not in record:
            return
        left = record["system/step_ms"] / 1000 * (self._steps - record["step"])
        live = f"loss {_loss(record)}  {record['train/kind']}  {_speed(record)}{_slowest(record)}"
        self._show_figures(live)
        now, last_step = time.monotonic(), record["step"] == self._steps
        plain = not self._console.is_terminal
        if plain and (last_step or now - self._last >= SECONDS_BETWEEN_LINES):
            self._last = now
            kinds = [
                f"{name.removeprefix('train/loss/')} {_figure(loss, '.3f')}"
                for name, loss in record.items()
                if name.startswith("train/loss/")
            ]
            parts = f" ({', '.join(kinds)})" if len(kinds) > 1 else ""
            rest = "" if last_step else f"  {timedelta(seconds=round(left))} left"
            self.say(
                f"step {record['step']}/{self._steps}  loss {_loss(record)}{parts}  "
                f"{_speed(record)}{rest}{_slowest(record)}"
            )


def _figure(value: float | None, form: str = ".4g") -> str:
    """A dash in place of a missing or infinite number."""
    return format(value, form) if value is not None and math.isfinite(value) else "-"


def _loss(record: Record) -> str:
    """A dash where no update was made."""
    return _figure(record.get("train/loss"), ".3f")


def _speed(record: Record) -> str:
    return f"{record['system/pairs_per_s']:.0f} pairs/s  {record['system/memory_gib']:.1f} GiB"


def _slowest(record: Record) -> str:
    """The rank that the others wait for, if one is clearly slower."""
    if "system/slowest_rank" not in record:
        return ""
    rank, node = record["system/slowest_rank"], record["system/slowest_node"]
    return f"  rank {rank} on {node} is {record['system/slowest_pct']:.0f}% slower"
