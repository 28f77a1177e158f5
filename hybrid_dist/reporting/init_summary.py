"""What `hybrid-dist init --data` prints: the pairs by language."""

from rich.table import Table

from hybrid_dist.text import cell
from hybrid_dist.training.pair_facts import Lengths, PairFacts

MOST_LANGUAGES = 20
"""More are left to `hybrid-dist prepare --describe`."""


def language_table(facts: PairFacts) -> Table:
    """The pairs to train on, languages with many pairs first."""
    unit = "tokens" if facts.in_tokens else "characters"
    title = f"To train on; 50% and 99% of the {unit} of queries (Q) and passages (P)"
    table = Table(
        "Language", "Pairs", "Translated", "Q 50%", "99%", "P 50%", "99%", "Unknown", title=title
    )
    for column in table.columns[1:]:
        column.justify = "right"
    languages = sorted(facts.languages.items(), key=lambda item: -item[1].pairs)
    for name, each in languages[:MOST_LANGUAGES]:
        unknown = "" if each.unknown is None else f"{each.unknown:.1%}"
        counts = f"{each.pairs:,}", f"{each.translated / each.pairs:.0%}"
        table.add_row(cell(name), *counts, *_cells(each.query), *_cells(each.passage), unknown)
    if len(languages) > MOST_LANGUAGES:
        others = languages[MOST_LANGUAGES:]
        table.add_row(f"{len(others)} more", f"{sum(each.pairs for _, each in others):,}")
    return table


def _cells(lengths: Lengths) -> tuple[str, str]:
    return f"{lengths.median:,}", f"{lengths.most:,}"
