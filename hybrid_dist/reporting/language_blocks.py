"""Blocks of a report's page by language: matrices, and the queries that failed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hybrid_dist.evaluation.metrics import METRICS
from hybrid_dist.reporting import html
from hybrid_dist.reporting.matrix import MOST_CELLS, Layer, matrix, span
from hybrid_dist.reporting.tables import show

Rows = Mapping[str, Mapping[str, float]]
AXES = ("queries in", "pool in")
MOST_RANKS = 12
"""Ranks of relevant passages that an example lists; of more, the best are named."""
TOO_LARGE = "There are {rows} x {columns} figures, too many for a page; report.json has them."


def as_array(rows: Rows, names: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """[names, columns]; NaN where a row has no figure."""
    nan = float("nan")
    return np.array(
        [[rows.get(name, {}).get(column, nan) for column in columns] for name in names], dtype=float
    ).reshape(len(names), len(columns))


def row_and_column_names(content: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The languages of queries and those of pools that have figures, in the report's order."""
    pairs: Rows = content["map_by_pair"]
    pools = {pool for row in pairs.values() for pool in row}
    known = list(content["counts"]["by_language"])
    return [name for name in known if name in pairs], [name for name in known if name in pools]


def by_pair(content: Mapping[str, Any]) -> list[str]:
    """Every metric by language pair."""
    rows, columns = row_and_column_names(content)
    title = html.heading(
        "By language pair",
        "Each row has queries in one language, each column searches passages in one. The diagonal "
        "is the monolingual setting, the rest is the cross-lingual one. A row's name shows its "
        "language below, a column's name sorts.",
    )
    if not rows:
        return []
    layers = []
    for key, (name, _) in METRICS.items():
        if f"{key}_by_pair" in content:
            values = as_array(content[f"{key}_by_pair"], rows, columns)
            layers.append(Layer(name, values, span([values])))
    return [title, _finding(layers[0], rows, columns), _fitting(layers, rows, columns, "by pair")]


def _finding(layer: Layer, rows: Sequence[str], columns: Sequence[str]) -> str:
    """The best and the worst pair in a sentence."""
    values = layer.values
    best, worst = (
        np.unravel_index(choose(values), values.shape) for choose in (np.nanargmax, np.nanargmin)
    )
    named = (
        f"{rows[int(at[0])]} queries in {columns[int(at[1])]} passages ({values[at]:.3f})"
        for at in (best, worst)
    )
    return html.paragraph("{} is highest for {}, lowest for {}.".format(layer.name, *named))


def shares(content: Mapping[str, Any]) -> list[str]:
    """The languages of the top 10 by query language; the last row has the pool's own shares."""
    share, pool = content["bias"]["language_share"], content["bias"]["pool_share"]
    if not share:
        return []
    columns = [name for name in content["counts"]["by_language"] if name in pool]
    rows = [name for name in columns if name in share]
    values = as_array({**share, "pool": pool}, [*rows, "pool"], columns)
    own = [share[name].get(name, 0.0) for name in rows]
    expected = [pool[name] for name in rows]
    note = (
        "The share of each language, in the pool of all languages. A search without bias repeats "
        "the last row, the pool's own shares, in every row; a bright diagonal means that it "
        "favours the query's language."
    )
    finding = (
        f"On average {np.mean(own):.0%} of the top 10 have the query's language, "
        f"{np.mean(expected):.0%} of the pool do."
    )
    layers = [Layer("share of the top 10", values, (0.0, span([values])[1]))]
    axes = ("queries in", "results in")
    return [
        html.heading("Languages of the top 10", note),
        html.paragraph(finding),
        _fitting(layers, [*rows, "pool"], columns, "languages of the top 10", axes, extra=["pool"]),
    ]


def overlaps(content: Mapping[str, Any]) -> list[str]:
    """How far parallel queries in two languages get the same results."""
    pairs = content["consistency"].get("jaccard_at_10_by_pair", {})
    names = [name for name in content["counts"]["by_language"] if name in pairs]
    if not names:
        return []
    values = as_array(pairs, names, names)
    low = np.unravel_index(np.nanargmin(values), values.shape)
    note = (
        "The passages that the top 10 of both queries have in common, over those in either, in the "
        "pool of all languages."
    )
    finding = (
        f"Results differ most between {names[int(low[0])]} and {names[int(low[1])]}, with an "
        f"overlap of {values[low]:.3f}; the mean is {np.nanmean(values):.3f}."
    )
    layers = [Layer("overlap of the top 10", values, span([values]))]
    axes = ("the query in", "and in")
    block = _fitting(layers, names, names, "overlap of the top 10", axes, symmetric=True)
    return [html.heading("Same results in two languages", note), html.paragraph(finding), block]


def _fitting(
    layers: Sequence[Layer],
    rows: Sequence[str],
    columns: Sequence[str],
    caption: str,
    axes: tuple[str, str] = AXES,
    symmetric: bool = False,
    extra: Sequence[str] = (),
) -> str:
    if len(rows) * len(columns) > MOST_CELLS:
        return html.paragraph(TOO_LARGE.format(rows=len(rows), columns=len(columns)))
    return matrix(layers, rows, columns, caption, axes, symmetric, extra)


def one_language(content: Mapping[str, Any]) -> list[str]:
    """The choice of a language, and the queries of each that failed."""
    failed = "its first result is not relevant"
    if "multilingual" in content.get("left_out", ()):
        failed = "in some pool, another passage ranks above a relevant one"
    note = (
        f"Choose a language for its row and its column of each matrix. A query failed if {failed}; "
        "those with the lowest average precision are shown, with what was retrieved instead."
    )
    blocks = [html.heading("One language", note), '<section id="language"></section>']
    for each in content["examples"].get("failed", []):
        language, count = html.escape(each["language"]), each["count"]
        queries = content["counts"]["by_language"][each["language"]]["queries"]
        shown = "".join(map(example_block, each["queries"]))
        blocks.append(
            f'<details data-language="{language}"><summary>{language}: {count:,} of {queries:,} '
            f"queries failed</summary>{shown}</details>"
        )
    return blocks


def example_block(example: Mapping[str, Any]) -> str:
    """A query, its relevant passage and what was found."""
    query, answer = example["query"], example["answer"]
    places = example["ranks"]
    if len(places) > MOST_RANKS:
        places = sorted(places, key=lambda place: place["rank"] or math.inf)[:MOST_RANKS]
    ranks = ", ".join(f"{place['language']} {show(place['rank'], 0)}" for place in places)
    if more := len(example["ranks"]) - len(places):
        ranks += f" and {more} more"
    found = "".join(
        f"<li>{_line(passage, passage['right'], show(passage['score']))}</li>"
        for passage in example["found"]
    )
    relevant = f"relevant passage, {answer['language']}"
    return (
        f'<div class="example"><div class="query">{_line(query)}</div>'
        f'<p class="note">{html.escape(query["id"])}: average precision '
        f"{example['average_precision']:.3f}; ranks of the relevant passages: "
        f"{html.escape(ranks)}</p>{_line(answer, True, tag=relevant)}<ol>{found}</ol></div>"
    )


def _line(text: Mapping[str, Any], right: bool = False, score: str = "", tag: str = "") -> str:
    """A text between its language and its score, which keep the page's direction."""
    style = "tag right" if right else "tag"
    hint = ' title="relevant"' if right else ""
    shown = f'<span class="note">{score}</span>' if score else ""
    return (
        f'<div class="line"><span class="{style}"{hint}>'
        f"{html.escape(tag or text['language'])}</span>"
        f"{html.foreign(text['language'], text['text'])}{shown}</div>"
    )
