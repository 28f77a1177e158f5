"""`hybrid-dist compare`: compare evaluated runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from hybrid_dist.reporting import comparison_pages
from hybrid_dist.reporting.comparison import compare
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare evaluated runs: mAP in the three settings and the language bias.

    Differences are from the first run, paired query by query.

    Example: hybrid-dist compare runs/demo/monolingual runs/demo/hybrid --out runs/demo
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, folders that `hybrid-dist evaluate --out` wrote, or folders of single reports
    in them."""
    out: Path | None = None
    """Also write report.html, .md, .tex, .csv and .json into this folder."""
    task: str | None = None
    """Name of the task to compare, where runs have several."""


def main(args: Sequence[str], program: str = "hybrid-dist compare") -> None:
    options = tyro.cli(Options, args=args, prog=program)
    comparison = compare(options.runs, options.task)
    if options.out is not None:
        comparison_pages.write(comparison, options.out)
    for table in comparison.tables():
        Console().print(table)
    for run, reason in comparison.paired.refused.items():
        if len(options.runs) > 1:
            print(printable(f"{run} is not paired: {reason}"))
