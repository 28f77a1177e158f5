"""The language bias of a retriever in sentences, each figure with its interval."""

from typing import Any

from hybrid_dist.reporting.comparison import Comparison
from hybrid_dist.reporting.report import figures
from hybrid_dist.reporting.tables import show
from hybrid_dist.text import printable

SELF = "bias.self_preference.mean"
POOLED, OWN = "map.multilingual", "map.monolingual"


def sentences(comparison: Comparison) -> list[str]:
    """One sentence for each run of a comparison, the first of which is the model as it is."""
    first, *others = zip(comparison.runs, comparison.reports, strict=True)
    lines = [_as_it_is(first[1])]
    for name, report in others:
        differences = comparison.paired.differences.get(name, {})
        parts = [
            f"{printable(name)}: own language {_with_interval(report, SELF, 2)} times its share"
        ]
        if (change := differences.get(POOLED)) is not None:
            interval = f"{show(change.low)} to {show(change.high)}"
            parts.append(f"mAP in the pool of all languages {change.value:+.3f} ({interval})")
        if (change := differences.get(OWN)) is not None:
            interval = f"{show(change.low)} to {show(change.high)}"
            parts.append(f"within a language {change.value:+.3f} ({interval})")
        lines.append(f"{'; '.join(parts)}.")
    return [*lines, *_cuts(comparison)]


def _cuts(comparison: Comparison) -> list[str]:
    """A sentence for each run by vectors that are cut, the shortest first."""
    dims = dict.fromkeys(dim for report in comparison.reports for dim in report.get("dims", {}))
    lines = []
    for dim in dims:
        for name, report in zip(comparison.runs, comparison.reports, strict=True):
            at_dim = report["dims"][dim]
            if figures(at_dim).get(SELF) is not None:
                lines.append(
                    f"{printable(name)}, cut to {dim} dimensions: own language "
                    f"{_with_interval(at_dim, SELF, 2)} times its share; mAP in the pool of all "
                    f"languages {_with_interval(at_dim, POOLED)}, within a language "
                    f"{_with_interval(at_dim, OWN)}."
                )
    return lines


def _as_it_is(report: dict[str, Any]) -> str:
    if figures(report).get(SELF) is None:
        reason = next(iter(report["left_out"].values()), "no query has two relevant passages")
        return f"No figure of language bias: {reason}."
    text = (
        f"The first 10 results have the query's language {_with_interval(report, SELF, 2)} times "
        "as often as the pool; 1 would be no preference"
    )
    if figures(report).get(POOLED) is not None and figures(report).get(OWN) is not None:
        text += (
            f". mAP in the pool of all languages is {_with_interval(report, POOLED)}, within a "
            f"language {_with_interval(report, OWN)}"
        )
    return f"{text}."


def _with_interval(report: dict[str, Any], figure: str, digits: int = 3) -> str:
    text = show(figures(report).get(figure), digits)
    if interval := report["intervals"].get(figure):
        text += f" ({show(interval[0], digits)} to {show(interval[1], digits)})"
    return text
