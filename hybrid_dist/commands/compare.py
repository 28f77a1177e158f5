"""`hybrid-dist compare`: compare evaluated runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from hybrid_dist.config.command_options import parse
from hybrid_dist.reporting import comparison_pages
from hybrid_dist.reporting.comparison import common_tasks, compare
from hybrid_dist.reporting.comparison_blocks import results
from hybrid_dist.reporting.task_summary import MEANING, summarize_tasks
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare evaluated runs: mAP in the three settings and the language bias.

    On one task, differences are from the first run, paired query by query. Runs that were evaluated
    on several tasks are compared by their means over tasks and their Borda rank.

    Example: hybrid-dist compare runs/demo/monolingual runs/demo/hybrid --out runs/demo
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, folders that `hybrid-dist evaluate --out` wrote, or folders of single reports
    in them."""
    out: Path | None = None
    """Also write report.html, .md, .tex, .csv and .json into this folder; of several tasks,
    summary.md and .json."""
    task: str | None = None
    """Name of the task to compare, where runs have several; by default all of them."""


def main(args: Sequence[str], program: str = "hybrid-dist compare") -> None:
    options = parse(Options, args, program)
    if options.task is None and options.runs and len(common_tasks(options.runs)) > 1:
        _summarize(options)
        return
    comparison = compare(options.runs, options.task)
    if options.out is not None:
        comparison_pages.write(comparison, options.out)
    for table in comparison.tables():
        Console().print(table)
    for run, reason in comparison.paired.refused.items():
        if len(options.runs) > 1:
            print(printable(f"{run} is not paired: {reason}"))
    for line in results(comparison):
        print(printable(line))
    if options.out is not None:
        print(printable(f"The report: {options.out / 'report.html'}"))


def _summarize(options: Options) -> None:
    """Compare runs over all tasks that they have in common."""
    summary = summarize_tasks(options.runs)
    if options.out is not None:
        summary.write(options.out)
    for table in summary.tables():
        Console().print(table)
    print(MEANING)
    print("--task NAME compares the runs on one task, query by query.")
    if options.out is not None:
        print(printable(f"The summary: {options.out / 'summary.md'}"))
