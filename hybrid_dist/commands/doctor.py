"""Check a machine or an allocation: `hybrid-dist doctor`, or under `accelerate launch`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hybrid_dist.config.command_options import parse
from hybrid_dist.errors import report_errors
from hybrid_dist.reporting.doctor_table import findings_table
from hybrid_dist.runtime.doctor import examine
from hybrid_dist.runtime.launch import start
from hybrid_dist.runtime.ranks import exit_process


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check what training needs: each is ok, slow or wrong, with what to do about it.

    Example: hybrid-dist doctor --folder runs
    Several processes: accelerate launch --config_file launchers/ddp.yaml -m hybrid_dist.doctor
    """

    folder: Path = Path("runs")
    """Where runs will be written."""


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.doctor") -> None:
    with report_errors(program):
        options = parse(Options, args, program)
        _, ranks = start()
        findings = examine(ranks, options.folder)
        if ranks.is_first:
            Console().print(findings_table(findings))
    if any(finding.state == "wrong" for finding in findings):
        sys.exit(1)
    exit_process()


if __name__ == "__main__":
    main()
