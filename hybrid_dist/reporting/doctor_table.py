"""The findings of `hybrid-dist doctor` as a table."""

from collections.abc import Sequence

from rich.table import Table

from hybrid_dist.runtime.finding import Finding
from hybrid_dist.text import cell

STYLES = {"ok": "green", "slow": "yellow", "wrong": "bold red"}


def findings_table(findings: Sequence[Finding]) -> Table:
    """Returns a table with a line for each finding."""
    table = Table("", "", "finding", "what to do")
    for finding in findings:
        state = cell(finding.state, STYLES[finding.state])
        table.add_row(cell(finding.what), state, cell(finding.message), cell(finding.remedy))
    return table
