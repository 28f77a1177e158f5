"""Look over a machine or an allocation: `hybrid-dist doctor`, or under `accelerate launch`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.doctor import Finding, examine
from hybrid_dist.runtime.launch import start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.text import cell

STYLES = {"ok": "green", "slow": "yellow", "wrong": "bold red"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Try what training needs, and say of each whether it is ok, slow or wrong, and what to do.

    Example: hybrid-dist doctor --folder runs
    Several processes: accelerate launch --config_file launchers/ddp.yaml -m hybrid_dist.doctor
    """

    folder: Path = Path("runs")
    """Where runs will be written."""


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.doctor") -> None:
    with report_errors(program):
        options = tyro.cli(Options, args=args, prog=program)
        _, ranks = start()
        findings = examine(ranks, options.folder)
        if ranks.is_first:
            Console().print(table(findings))
    if any(finding.state == "wrong" for finding in findings):
        sys.exit(1)
    exit_process()


def table(findings: Sequence[Finding]) -> Table:
    lines = Table("", "", "found", "what to do")
    for finding in findings:
        state = cell(finding.state, STYLES[finding.state])
        lines.add_row(cell(finding.what), state, cell(finding.message), cell(finding.remedy))
    return lines


if __name__ == "__main__":
    main()
