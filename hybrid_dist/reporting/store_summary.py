"""Summary of a store by language: figures, tables and a plot."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
from rich.table import Column, Table

from hybrid_dist.batching.streams import pair_sizes
from hybrid_dist.data.hashing import hash_texts
from hybrid_dist.data.store.reader import Store
from hybrid_dist.reporting import plots
from hybrid_dist.text import cell

PERCENTILES = (50, 90, 99)
COUNTS = {
    "pairs": "Pairs",
    "passages": "Passages",
    "duplicate_passages": "Passages again",
    "duplicate_queries": "Queries again",
    "hard_negatives": "Negatives",
    "listed_negatives": "Listed",
    "candidates": "Candidates",
    "queries": "Queries",
}
"""Figures of a language -> their column headings."""
StoreSummary = dict[str, Any]


def describe(store: Store) -> StoreSummary:
    """The figures of every language, the unit of lengths, and models whose results it holds."""
    index = store.index
    parallel = pair_sizes(index)
    queries = _query_hashes(store)
    fertility = _tokens_per_character(store)
    languages: dict[str, StoreSummary] = {}
    for number, name in enumerate(index.languages):
        rows = slice(*index.language_starts[number : number + 2].tolist())
        passages = len(np.unique(index.passage_of[rows]))
        pairs = rows.stop - rows.start
        counts = store.manifest["languages"][name]
        languages[name] = {
            "pairs": pairs,
            "passages": passages,
            "hard_negatives": counts["passages"] - passages,
            "listed_negatives": int(
                index.negative_starts[rows.stop] - index.negative_starts[rows.start]
            ),
            "duplicate_passages": pairs - passages,
            "duplicate_queries": pairs - len(np.unique(queries[rows])),
            "query_length": _percentiles(index.query_length[rows]),
            "passage_length": _percentiles(index.passage_length[index.passage_of[rows]]),
            "tokens_per_character": fertility.get(name),
            "parallel": {
                other: int(parallel[number, position])
                for position, other in enumerate(index.languages)
                if position != number
            },
        }
    for name, counts in store.manifest.get("evaluation", {}).items():
        languages.setdefault(name, {"pairs": 0, "passages": 0}).update(counts)
    unit = "tokens" if store.tokens else "characters"
    return {"unit": unit, **_models(store), "languages": languages}


def _models(store: Store) -> StoreSummary:
    """The teacher whose vectors a store has, and the model that mined its negatives."""
    models: StoreSummary = {}
    if store.teacher is not None:
        models["teacher"] = {"model": store.teacher.model, "width": store.teacher.width}
    if mining := store.manifest.get("mining"):
        models["mining"] = {"model": mining["model"], "negatives": mining["all"]["negatives"]}
    return models


def _query_hashes(store: Store) -> np.ndarray:
    return np.concatenate([hash_texts(texts) for texts in store.query_column.arrays()])


def _percentiles(lengths: np.ndarray) -> dict[str, int]:
    values = np.percentile(lengths, PERCENTILES, method="inverted_cdf").tolist()
    return {str(name): int(value) for name, value in zip(PERCENTILES, values, strict=True)}


def _tokens_per_character(store: Store) -> dict[str, float]:
    """Language -> tokens of its passages, without prefix, per character."""
    if store.tokens is None:
        return {}
    tokens = store.tokens.passage_counts()
    whole = tokens < store.tokens.longest  # longer texts are truncated
    characters = np.concatenate(
        [pc.utf8_length(texts).to_numpy() for texts in store.passage_column.arrays()]
    )
    tokens = tokens - store.tokens.passage_prefix_length
    ratios, first = {}, 0
    for name, counts in store.manifest["languages"].items():
        rows = np.arange(first, first + counts["passages"])
        rows = rows[whole[rows]]
        first += counts["passages"]
        if len(rows):
            ratios[name] = round(float(tokens[rows].sum() / characters[rows].sum()), 4)
    return ratios


def tables(summary: StoreSummary, width: int = 80) -> Iterator[Table]:
    """Tables for the terminal: counts, lengths, and parallel pairs split to fit the width."""
    languages: dict[str, StoreSummary] = summary["languages"]
    counts = {
        key: heading
        for key, heading in COUNTS.items()
        if any(key in one for one in languages.values())
    }
    table = _right(Table("Language", *counts.values(), title="What is there"))
    for name, figures in languages.items():
        table.add_row(cell(name), *(f"{figures.get(key, 0):,}" for key in counts))
    yield table
    named = {name: figures for name, figures in languages.items() if figures["pairs"]}
    yield _lengths(named, summary["unit"])
    if "teacher" in summary or "mining" in summary:
        yield _results(summary)
    at_once = max(1, (width - 12) // 12)
    for start in range(0, len(named) if len(named) > 1 else 0, at_once):
        others = list(named)[start : start + at_once]
        heads = (Column(cell(other)) for other in others)
        table = _right(Table("", *heads, title="Uids that two languages share"))
        for name, figures in named.items():
            shared = (figures["parallel"].get(other) for other in others)
            table.add_row(cell(name), *("" if n is None else f"{n:,}" for n in shared))
        yield table


def _lengths(named: dict[str, StoreSummary], unit: str) -> Table:
    kinds = ("query", "passage")
    headings = [f"{kind[0].upper()} {name}%" for kind in kinds for name in PERCENTILES]
    last = ["Tokens/character"] if unit == "tokens" else []
    title = f"Lengths in {unit}: percentiles of queries (Q) and passages (P)"
    table = _right(Table("Language", *headings, *last, title=title))
    for name, figures in named.items():
        cells = [f"{n:,}" for kind in kinds for n in figures[f"{kind}_length"].values()]
        fertility = figures["tokens_per_character"]
        table.add_row(cell(name), *cells, *([f"{fertility or 0:.3f}"] if last else []))
    return table


def _results(summary: StoreSummary) -> Table:
    table = Table("", "Model", "", title="Results of models")
    if teacher := summary.get("teacher"):
        table.add_row("Teacher's vectors", cell(teacher["model"]), f"{teacher['width']} dimensions")
    if mining := summary.get("mining"):
        table.add_row("Mined negatives", cell(mining["model"]), f"{mining['negatives']:,} passages")
    return table


def _right(table: Table) -> Table:
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def plot(summary: StoreSummary) -> bytes:
    """Pairs and lengths by language, as a PNG image."""
    named = {name: figures for name, figures in summary["languages"].items() if figures["pairs"]}
    return plots.store(
        list(named),
        {
            "pairs": [figures["pairs"] for figures in named.values()],
            "distinct passages": [figures["passages"] for figures in named.values()],
        },
        {
            kind: [list(figures[f"{kind}_length"].values()) for figures in named.values()]
            for kind in ("query", "passage")
        },
        f"{summary['unit']} (percentiles {', '.join(map(str, PERCENTILES))})",
    )
