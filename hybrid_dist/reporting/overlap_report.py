"""The report of `hybrid-dist overlap`: a verdict, counts by language and examples."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from hybrid_dist.data.languages import primary_subtag
from hybrid_dist.data.ngrams import normalized_text
from hybrid_dist.evaluation.contamination import Hit, Overlap
from hybrid_dist.text import cell, printable

CLIP = 160
"""Characters of a text that are shown."""
KINDS = {"query": "queries", "passage": "passages"}
"""Kinds of evaluated texts: singular -> plural."""


def verdict(overlap: Overlap) -> str:
    """The result in one line."""
    tasks = ", ".join(sorted({one.task for one in overlap.evaluated}))
    exact = sum(hit.exact for hit in overlap.best.values())
    what = (
        f"{exact:,} are there as they are, {len(overlap.best) - exact:,} in other texts "
        f"({overlap.threshold:.0%} of their n-grams or more)"
        if overlap.best
        else "none is there"
    )
    return (
        f"overlap: of {len(overlap.evaluated):,} texts that {tasks} evaluates on, {what}, in "
        f"{sum(overlap.pairs.values()):,} training pairs"
    )


def summarize(overlap: Overlap, examples: int) -> dict[str, Any]:
    """All figures, and the examples with the largest shares."""
    return {
        "verdict": verdict(overlap),
        "clean": not overlap.best,
        "threshold": overlap.threshold,
        "pairs": sum(overlap.pairs.values()),
        "uids_found": len(overlap.uids),
        "by_language": _by_language(overlap),
        "examples": [
            {
                "share": round(hit.share, 4),
                "exact": hit.exact,
                "evaluated": hit.evaluated._asdict(),
                "training": {"uid": hit.uid, "column": hit.column, "text": hit.text},
            }
            for hit in _worst(overlap, examples)
        ],
    }


def show(overlap: Overlap, examples: int) -> None:
    """Print the same as a table and lines."""
    console = Console()
    table = Table("Language", "Training pairs", "Queries found", "Passages found")
    for lang, row in _by_language(overlap).items():
        cells = (
            f"{row[kinds]['exact']:,} + {row[kinds]['contained']:,} of {row[kinds]['evaluated']:,}"
            for kinds in KINDS.values()
        )
        table.add_row(cell(lang), f"{row['pairs']:,}", *cells)
    console.print(table)
    console.print("Found: equal texts + those that another text contains.")
    for hit in _worst(overlap, examples):
        text = hit.evaluated
        how = "equal text" if hit.exact else f"{hit.share:.0%} of its n-grams"
        line = f"{text.task} {text.kind} {text.id} ({text.lang}): {_clip(text.text)}"
        print(f"\n{printable(line)}")
        print(printable(f"  {how} in the {hit.column} of {hit.uid}: {_clip(hit.text)}"))
    print(f"\n{printable(verdict(overlap))}")


def _by_language(overlap: Overlap) -> dict[str, Any]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in overlap.evaluated:
        counts[primary_subtag(one.lang), one.kind, "evaluated"] += 1
    for hit in overlap.best.values():
        how = "exact" if hit.exact else "contained"
        counts[primary_subtag(hit.evaluated.lang), hit.evaluated.kind, how] += 1
    pairs: Counter[str] = Counter()
    for lang, count in overlap.pairs.items():
        pairs[primary_subtag(lang)] += count
    return {
        lang: {
            "pairs": pairs[lang],
            **{
                kinds: {
                    what: counts[lang, kind, what] for what in ("evaluated", "exact", "contained")
                }
                for kind, kinds in KINDS.items()
            },
        }
        for lang in sorted({*pairs, *(lang for lang, _, _ in counts)})
    }


def _worst(overlap: Overlap, count: int) -> list[Hit]:
    """Hits by descending share, longer texts first, with one hit per text."""
    ordered = sorted(overlap.best.values(), key=lambda hit: (-hit.share, -len(hit.evaluated.text)))
    distinct = {normalized_text(hit.evaluated.text): hit for hit in reversed(ordered)}
    return list(reversed(distinct.values()))[:count]


def _clip(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= CLIP else text[:CLIP].rstrip() + " ..."
