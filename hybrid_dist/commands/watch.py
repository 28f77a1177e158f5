"""Show a running or finished run in the terminal: `hybrid-dist watch RUN`.

Reads the run folder and nothing else, so it works on any machine that sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.reporting import run_view


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show how a run stands: its state, curves, mix of batches, last evaluation and speed.

    Example: hybrid-dist watch runs/hybrid --follow
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    follow: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on showing it until the run ends."""


def main(args: Sequence[str], program: str = "hybrid-dist watch") -> None:
    options = tyro.cli(Options, args=args, prog=program)
    run_view.show(options.run, options.follow)
