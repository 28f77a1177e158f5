"""Show a running or finished run in the terminal: `hybrid-dist watch RUN`.

Reads the run folder and nothing else, so it works on any machine that sees it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.reporting import run_view
from hybrid_dist.reporting.run_screen import screen
from hybrid_dist.reporting.run_status import RUNNING, RunStatus
from hybrid_dist.text import printable

SECONDS_BETWEEN_UPDATES = 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show how a run stands: its state, curves, mix of batches, last evaluation and speed.

    Example: hybrid-dist watch runs/hybrid --follow
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    follow: Flag = False
    """Go on showing it until the run ends."""


def main(args: Sequence[str], program: str = "hybrid-dist watch") -> None:
    options = parse(Options, args, program)
    _show(options.run, options.follow)


def _show(path: Path, follow: bool) -> None:
    """Print the status of the run in a folder; with `follow`, go on until the run ends."""
    console = Console()
    status = RunStatus.read(path)
    if not console.is_terminal:
        for line in run_view.lines(status):
            print(printable(line), flush=True)
        if follow:
            _print_new_records(path, status)
    elif not follow or status.state != RUNNING:
        console.print(screen(status, console))
    else:
        _update_screen(console, path, status)


def _update_screen(console: Console, path: Path, status: RunStatus) -> None:
    with Live(screen(status, console), console=console, auto_refresh=False) as live:
        try:
            while status.state == RUNNING:
                time.sleep(SECONDS_BETWEEN_UPDATES)
                status = RunStatus.read(path)
                live.update(screen(status, console), refresh=True)
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
                print(printable(run_view.line(record)), flush=True)
        shown = max(shown, status.step)
    print(printable(run_view.headline(status)), flush=True)
