"""Plots of reports, comparisons and stores, as PNG images in a colour-blind-safe palette."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from hybrid_dist.reporting.axis_ticks import log_ticks, tick_labels
from hybrid_dist.text import printable

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#F0E442")
"""The palette of Okabe and Ito."""
INK, FAINT, GRID = "#1f2933", "#66727f", "#dfe4ea"
DPI = 200
MANY = 16
"""Above this number of languages, heatmap cells show no figures."""
TALL = 30
"""Above this number of rows, the ticks of a plot are above it too."""
VERY_MANY = 60
"""Above this number, their labels are small."""


def map_by_pair(pairs: np.ndarray, languages: Sequence[str]) -> bytes:
    """mAP of every query language in the pool of every passage language."""
    known = ~np.isnan(pairs)
    query_langs, passage_langs = (
        np.flatnonzero(known.any(axis=1)),
        np.flatnonzero(known.any(axis=0)),
    )
    rows, columns = (
        [languages[int(code)] for code in codes] for codes in (query_langs, passage_langs)
    )
    drawing, axes = _drawing(*_heatmap_size(len(columns), len(rows)))
    values = pairs[np.ix_(query_langs, passage_langs)]
    _heatmap(axes, values, columns, "{:.2f}", _span(values, step=0.1), rows=rows)
    axes.set_xlabel("pool: passages in")
    axes.set_ylabel("queries in")
    return _png(drawing)


def language_share(share: np.ndarray, pool: np.ndarray, languages: Sequence[str]) -> bytes:
    """The share of each language among the top 10; the last row is its share of the pool.

    The colours are those of 0 to 100%, so that the plots of two models can be compared.
    """
    has_queries = ~np.isnan(share).all(axis=1)
    rows = np.concatenate([share[has_queries], pool[None]]) * 100
    names = [name for name, shown in zip(languages, has_queries, strict=True) if shown]
    drawing, axes = _drawing(*_heatmap_size(len(languages), len(rows)))
    _heatmap(axes, rows, languages, "{:.0f}", (0, 100), rows=[*names, "pool"])
    axes.axhline(len(names) - 0.5, color="white", linewidth=4)
    axes.set_xlabel("% of the top 10 in")
    axes.set_ylabel("queries in")
    return _png(drawing)


def jaccard_by_pair(overlap: np.ndarray, languages: Sequence[str]) -> bytes:
    """The overlap [languages, languages] of the lists of parallel queries, on a scale of 0 to 1."""
    codes = np.flatnonzero(~np.isnan(overlap).all(axis=1))
    names = [languages[int(code)] for code in codes]
    drawing, axes = _drawing(*_heatmap_size(len(names), len(names)))
    _heatmap(axes, overlap[np.ix_(codes, codes)], names, "{:.2f}", (0, 1))
    axes.set_xlabel("and in")
    axes.set_ylabel("the query in")
    return _png(drawing)


def rank_distance(
    distances: Sequence[np.ndarray], languages: Sequence[str], references: tuple[float, float]
) -> bytes:
    """Box plots of rank distance by query language.

    `references` are the smallest possible distance, and that of a random order.
    """
    known = [values[~np.isnan(values)] for values in distances]
    kept = [pair for pair in zip(known, languages, strict=True) if len(pair[0])][::-1]
    drawing, axes = _drawing(7.6, 1.2 + 0.34 * len(kept))
    axes.boxplot(
        [np.maximum(values, 1) for values, _ in kept],
        orientation="horizontal",
        whis=(10, 90),
        showfliers=False,
        widths=0.6,
        patch_artist=True,
        showmeans=True,
        boxprops={"facecolor": "#cfe3f1", "edgecolor": COLOURS[0]},
        whiskerprops={"color": COLOURS[0]},
        capprops={"color": COLOURS[0]},
        medianprops={"color": INK, "linewidth": 1.6},
        meanprops={"marker": "D", "markerfacecolor": COLOURS[5], "markeredgecolor": "white"},
    )
    axes.set_yticks(range(1, len(kept) + 1), [_plain(name) for _, name in kept])
    axes.set_ylim(0.4, len(kept) + 0.6)
    _reference_lines(axes, references, _above(axes, len(kept)))
    _log_axis(axes, "x")
    axes.set_xlabel("rank distance, log scale (lower is better)")
    axes.grid(axis="x", color=GRID)
    return _png(drawing)


def grouped_bars(
    groups: Sequence[str], values: Mapping[str, Sequence[float]], label: str, digits: int = 3
) -> bytes:
    """Bars of several runs side by side in each group; none for NaN."""
    drawing, axes = _drawing(max(7.6, 1.5 + 0.55 * len(groups) * len(values)), 3.6)
    width = 0.8 / len(values)
    for number, (name, heights) in enumerate(values.items()):
        places = np.arange(len(groups)) + (number - (len(values) - 1) / 2) * width
        style = _style(number)
        bars = axes.bar(places, np.asarray(heights), width * 0.92, label=_plain(name), **style)
        if len(values) <= 6:
            labels = ["" if np.isnan(v) else f"{v:.{digits}f}" for v in heights]
            axes.bar_label(bars, labels, fontsize=8, color=INK, padding=2)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(label)
    axes.set_ylim(0, min(1.12, 1.15 * max(0.05, *(np.nanmax([0, *v]) for v in values.values()))))
    axes.grid(axis="y", color=GRID)
    _legend(axes, list(values))
    return _png(drawing)


def log_bars(
    values: Mapping[str, float], label: str, references: tuple[float, float] | None = None
) -> bytes:
    """One bar per run on a log scale; none for NaN."""
    drawing, axes = _drawing(7.6, 1.1 + 0.42 * len(values))
    heights = np.array(list(values.values()))
    for number, height in enumerate(heights):
        bars = axes.barh([number], [height], 0.7, **_style(number))
        axes.bar_label(bars, ["" if np.isnan(height) else f"{height:,.1f}"], fontsize=9, padding=3)
    axes.set_yticks(range(len(values)), [_plain(name) for name in values])
    axes.invert_yaxis()
    axes.set_xlim(1, max(10, 3 * float(np.nanmax([1, *heights, *(references or ())]))))
    if references is not None:
        _reference_lines(axes, references)
    _log_axis(axes, "x")
    axes.set_xlabel(label)
    axes.grid(axis="x", color=GRID)
    return _png(drawing)


def lines_by_language(
    languages: Sequence[str], values: Mapping[str, Sequence[float]], label: str
) -> bytes:
    """A row of points per language, a colour and marker per run."""
    drawing, axes = _drawing(7.6, 1.3 + 0.32 * len(languages) + 0.1 * len(values))
    rows = np.arange(len(languages))
    table = np.array(list(values.values()), dtype=float)
    for row in rows:
        known = table[:, row][~np.isnan(table[:, row])]
        if len(known):
            axes.plot([known.min(), known.max()], [row, row], color=GRID, linewidth=3, zorder=1)
    markers = "osD^vPX*"
    for number, (name, points) in enumerate(values.items()):
        colour, marker = COLOURS[number % len(COLOURS)], markers[number % len(markers)]
        axes.plot(points, rows, marker, color=colour, label=_plain(name), markersize=7, zorder=2)
    axes.set_yticks(rows, list(map(_plain, languages)))
    axes.set_ylim(len(languages) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.grid(axis="x", color=GRID)
    _legend(axes, list(values), _above(axes, len(languages)))
    return _png(drawing)


def store(
    languages: Sequence[str],
    counts: Mapping[str, Sequence[int]],
    lengths: Mapping[str, Sequence[Sequence[int]]],
    unit: str,
) -> bytes:
    """By language: bars of counts, and beside them percentiles of lengths, joined by lines."""
    drawing = Figure(figsize=(9.6, 1.5 + 0.3 * len(languages)), layout="constrained")
    left, right = drawing.subplots(1, 2, sharey=True)
    rows = np.arange(len(languages))
    for number, (name, values) in enumerate(counts.items()):
        at = rows + (number - (len(counts) - 1) / 2) * 0.4
        left.barh(at, values, 0.36, label=_plain(name), color=COLOURS[4 * (1 - number)])
    for number, (name, spread) in enumerate(lengths.items()):
        at, colour = rows + (number - (len(lengths) - 1) / 2) * 0.4, COLOURS[2 + 3 * number]
        points = np.array(spread)
        right.hlines(at, points[:, 0], points[:, -1], color=colour, linewidth=1.4)
        for column, size in enumerate((7, 5, 3)):
            label = _plain(name) if column == 0 else None
            right.plot(points[:, column], at, "o", color=colour, markersize=size, label=label)
    for axes, label in ((left, "number"), (right, unit)):
        _plain_axes(axes)
        axes.set_xlabel(label)
        axes.grid(axis="x", color=GRID)
        _legend(axes, ["both", "of them"])
    left.set_yticks(rows, list(map(_plain, languages)))
    left.set_ylim(len(languages) - 0.4, -0.6)
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    left.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _log_axis(right, "x")
    return _png(drawing)


def _heatmap(
    axes: Axes,
    values: np.ndarray,
    columns: Sequence[str],
    form: str,
    span: tuple[float, float],
    rows: Sequence[str] | None = None,
) -> None:
    """A heatmap whose colour scale covers a span."""
    low, high = span
    edges = (np.arange(size + 1) - 0.5 for size in values.shape[::-1])
    cells = axes.pcolormesh(*edges, values, cmap="cividis", vmin=low, vmax=high, antialiased=False)
    axes.invert_yaxis()
    axes.set_xticks(
        range(len(columns)), list(map(_plain, columns)), rotation=90 if len(columns) > MANY else 0
    )
    axes.set_yticks(range(len(values)), list(map(_plain, rows or columns)))
    axes.tick_params(length=0, labelsize=6 if len(columns) > VERY_MANY else 9)
    axes.spines[:].set_visible(False)
    # a font of its own for each cell would be looked up each time
    style: dict[str, Any] = {"ha": "center", "va": "center", "font": FontProperties(size=9)}
    for row, column in np.argwhere(~np.isnan(values)) if len(columns) <= MANY else ():
        value = values[row, column]
        colour = "white" if value < (low + high) / 2 else INK
        text = axes.text(column, row, form.format(value), color=colour, **style)
        text.set_in_layout(False)  # inside the axes, and slow to measure
    bar = axes.figure.colorbar(cells, ax=axes, fraction=0.05, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=FAINT, labelsize=8)


def _span(values: np.ndarray, step: float) -> tuple[float, float]:
    """The span of values, rounded outwards to `step`."""
    low = float(step * np.floor(np.nanmin(values) / step))
    return low, max(low + step, float(step * np.ceil(np.nanmax(values) / step)))


def _heatmap_size(columns: int, rows: int) -> tuple[float, float]:
    """Width and height in inches; cells without figures are smaller."""
    width, height = (0.52, 0.42) if columns <= MANY else (0.22, 0.19)
    if columns > VERY_MANY:
        width, height = 0.12, 0.11
    return 2.4 + width * columns, 1.5 + height * rows


def _style(number: int) -> dict[str, Any]:
    """The style of the n-th run; colours repeat with another hatch."""
    hatch = ("", "//", "..", "xx")[number // len(COLOURS) % 4]
    return {"color": COLOURS[number % len(COLOURS)], "hatch": hatch, "edgecolor": "white"}


def _plain(name: str) -> str:
    """A name to show verbatim: matplotlib parses dollar signs and hides labels starting with _."""
    return ("\u200b" if name.startswith("_") else "") + printable(name).replace("$", r"\$")


def _above(axes: Axes, rows: int) -> float:
    """Put the ticks of a tall plot above it too. Returns how far the legend is from the plot."""
    if rows <= TALL:
        return 0.5
    axes.tick_params(axis="x", labeltop=True)
    return 2.0


def _legend(axes: Axes, names: Sequence[str], distance: float = 0.5) -> None:
    if len(names) > 1:
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            borderaxespad=distance,
            ncols=max(1, min(len(names), 90 // (max(map(len, names)) + 8))),
            frameon=False,
            labelcolor=INK,
        )


def _reference_lines(axes: Axes, references: tuple[float, float], distance: float = 0.5) -> None:
    """Where an order without bias, and a random one, would be."""
    names = ("best possible, R - 1", "random ranking")
    for value, name, style, colour in zip(references, names, "-:", COLOURS[2:4], strict=True):
        label = f"{name}: {value:,.0f}"
        axes.axvline(value, color=colour, linestyle=style, linewidth=1.6, zorder=1, label=label)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        borderaxespad=distance,
        ncols=2,
        frameon=False,
        labelcolor=INK,
    )


def _log_axis(axes: Axes, which: str) -> None:
    """A log scale with several different ticks over any span; limits are final before."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    ticks = log_ticks(*sorted(axis.get_view_interval()))
    labels = dict(zip(ticks, tick_labels(ticks), strict=True))
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: labels.get(value, "")))
    axis.set_minor_locator(NullLocator())


def _drawing(width: float, height: float) -> tuple[Figure, Axes]:
    drawing = Figure(figsize=(width, height), layout="constrained")
    axes = drawing.subplots()
    _plain_axes(axes)
    return drawing, axes


def _plain_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=INK, length=3, labelsize=9)
    axes.xaxis.label.set_color(FAINT)
    axes.yaxis.label.set_color(FAINT)
    axes.set_axisbelow(True)


def _png(drawing: Figure) -> bytes:
    """The image, drawn once: savefig would draw everything twice for its layout."""
    out = io.BytesIO()
    drawing.set_dpi(DPI)
    FigureCanvasAgg(drawing).print_png(out, pil_kwargs={"compress_level": 3})
    return out.getvalue()
