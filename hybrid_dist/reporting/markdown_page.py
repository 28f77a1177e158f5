"""report.md: the figures of a report as a Markdown page."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_dist.reporting import bias_tables, tables
from hybrid_dist.text import markdown as escaped


def markdown(report: Mapping[str, Any]) -> str:
    """report.md: headline figures, bias, groups, languages and settings."""
    counts, pairs, grouped = report["counts"], tables.pair_rows(report), tables.group_rows(report)
    cuts, directions = tables.dim_rows(report), tables.direction_rows(report)
    biased, consistent = bias_tables.bias_rows(report), bias_tables.consistency_rows(report)
    lines = [
        f"# {escaped(report['task'])}: {escaped(report['model'])}",
        "",
        f"{counts['queries']:,} queries and {counts['passages']:,} passages in "
        f"{tables.languages(report)} languages. In parentheses: {report['settings']['intervals']}.",
        "",
        *table(["", *tables.SETTINGS.values()], tables.metric_rows(report)),
        "",
        *_paragraph([escaped(line) for line in [tables.left_out(report)] if line]),
        *_paragraph(table(_names(tables.DIM_COLUMNS), cuts) if cuts else []),
        *_paragraph(table(_names(bias_tables.BIAS_COLUMNS), biased) if biased else []),
        *_paragraph(
            table(_names(bias_tables.CONSISTENCY_COLUMNS), consistent) if consistent else []
        ),
        *_paragraph(table([*tables.GROUP_COLUMNS], grouped) if grouped else []),
        *_paragraph([escaped(line) for line in tables.spread_lines(report)]),
        *table(_names(tables.LANGUAGE_COLUMNS), tables.language_rows(report)),
        "",
        tables.LEGEND,
        "",
        *_paragraph(table([*tables.DIRECTION_COLUMNS], directions) if directions else []),
        *_paragraph([line for line in [tables.pair_note(report)] if line]),
        *_paragraph(table([*tables.PAIR_COLUMNS], pairs) if pairs else []),
        "## Settings",
        "",
        *(f"- {escaped(key)}: {escaped(value)}" for key, value in report["settings"].items()),
        f"- report: {report['id']}",
        "",
    ]
    return "\n".join(lines)


def _paragraph(lines: Sequence[str]) -> list[str]:
    """Lines and an empty one after them, if there are any."""
    return [*lines, ""] if lines else []


def _names(columns: Sequence[tuple[str, str]]) -> list[str]:
    return [name for name, _ in columns]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """A Markdown table, with so many columns of text before those of figures.

    The second line of a cell goes in parentheses after the first.
    """
    lines = [[*head], ["---"] * texts + ["---:"] * (len(head) - texts)]
    for row in rows:
        cells = (map(escaped, cell.partition("\n")[::2]) for cell in row)
        lines.append([f"{first} ({second})" if second else first for first, second in cells])
    return [f"| {' | '.join(line)} |" for line in lines]
