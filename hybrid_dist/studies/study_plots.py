"""Plots of a study, as PNG and PDF: curves over a numeric axis, bars, and ternary plots."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from hybrid_dist.batching import KINDS
from hybrid_dist.evaluation.metrics import METRICS
from hybrid_dist.reporting.plots import COLOURS, FAINT, GRID, INK
from hybrid_dist.studies.cells import Cell, Grid, matches
from hybrid_dist.studies.study_file import Plot
from hybrid_dist.studies.study_results import TaskResults, lower_is_better
from hybrid_dist.studies.study_statistics import Summary
from hybrid_dist.text import printable

PANEL = 3.4, 2.9
"""Width and height of a panel in inches."""
MARKERS = "osD^vPX*"
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
"""Of a ternary plot: monolingual, cross-lingual, multilingual."""


def draw(plot: Plot, grid: Grid, results: TaskResults) -> Figure | None:
    """The plot of a task, with a panel for each figure; None if no cell has a figure yet."""
    cells = [cell for cell in grid.cells if cell.is_untrained or matches(cell, plot.only)]
    names = [cell.name for cell in cells]
    panels = {
        figure: results.summaries(figure)
        for figure in results.values
        if any(name in results.values[figure] for name in names)
    }
    if plot.kind == "ternary":
        cells = [cell for cell in cells if not cell.is_untrained]
        panels = {
            figure: values
            for figure, values in panels.items()
            if sum(cell.name in values for cell in cells) >= 3
        }
    if not panels:
        return None
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    width, height = PANEL
    if plot.kind == "bars":
        height = max(height, 1.0 + 0.24 * len(cells))
        width = max(width, 4.2)
    drawing = Figure(figsize=(columns * width, rows * height), layout="constrained")
    axes = drawing.subplots(rows, columns, squeeze=False).flatten()
    for place, (figure, values) in zip(axes, panels.items(), strict=False):
        shown = [cell for cell in cells if cell.name in values]
        _style(place)
        place.set_title(figure_name(figure), fontsize=9, color=INK)
        PAINTERS[plot.kind](place, plot, shown, values, figure)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    if plot.kind == "line":
        _legend(drawing, axes[0])
    return drawing


def _legend(drawing: Figure, axes: Axes) -> None:
    """What the lines of a panel are, below all panels; in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return
    inches = 0.7 + 0.07 * max(map(len, labels))  # of a column
    drawing.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=max(1, min(len(labels), int(drawing.get_figwidth() / inches))),
        frameon=False,
        fontsize=8,
    )


def figure_name(figure: str) -> str:
    """A figure as tables and plots call it."""
    name, _, group = figure.partition("@")
    metric, _, setting = name.partition(".")
    known = {"bias": "", **{key: label for key, (label, _) in METRICS.items()}}
    words = {
        "rank_distance.mean": "rank distance",
        "rank_distance.normalised": "normalised rank distance",
        "self_preference.mean": "preference for the own language",
        "monolingual": "monolingual",
        "cross_lingual": "cross-lingual",
        "multilingual": "multilingual",
    }
    label = f"{known.get(metric, metric)} {words.get(setting, setting)}".strip()
    return f"{label}, {group} language" if group == "worst" else label + (group and f", {group}")


def _line(
    axes: Axes, plot: Plot, cells: Sequence[Cell], summaries: Mapping[str, Summary], figure: str
) -> None:
    """A curve for each value of `by`, with the two-level interval as a band, seeds as whiskers."""
    lines: dict[str, list[tuple[float, Summary]]] = {}
    for cell in cells:
        if cell.is_untrained:
            axes.axhline(summaries[cell.name].mean, color=FAINT, linestyle=":", label=cell.name)
        else:
            label = cell.label(plot.by) if plot.by else "runs"
            lines.setdefault(label, []).append((float(cell.value(plot.x)), summaries[cell.name]))
    for number, (label, points) in enumerate(lines.items()):
        points.sort(key=lambda point: point[0])
        x = [place for place, _ in points]
        on_line = [summary for _, summary in points]
        colour = COLOURS[number % len(COLOURS)]
        low = [summary.two_level_interval[0] for summary in on_line]
        high = [summary.two_level_interval[1] for summary in on_line]
        mean = [summary.mean for summary in on_line]
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        spread = [summary.deviation or 0.0 for summary in on_line]
        axes.errorbar(
            x,
            mean,
            spread,
            color=colour,
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            capsize=2,
            label=_plain(label),
        )
    axes.set_xlabel(plot.x, fontsize=8)
    _direction(axes, figure)


def _bars(
    axes: Axes, plot: Plot, cells: Sequence[Cell], summaries: Mapping[str, Summary], figure: str
) -> None:
    """A bar for each cell with the query-level interval; dots at the lowest and highest seed."""
    for number, cell in enumerate(cells):
        summary = summaries[cell.name]
        low, high = summary.query_interval
        error = np.array([[max(0, summary.mean - low)], [max(0, high - summary.mean)]])
        colour = FAINT if cell.is_untrained else COLOURS[number % len(COLOURS)]
        axes.barh(number, summary.mean, 0.7, color=colour, alpha=0.75)
        axes.errorbar(summary.mean, number, xerr=error, color=INK, capsize=2, linewidth=1)
        axes.plot([summary.lowest, summary.highest], [number] * 2, "o", color=INK, markersize=2.5)
    axes.set_yticks(range(len(cells)), [_plain(cell.name) for cell in cells], fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="x", color=GRID)
    _direction(axes, figure, horizontal=True)


def _ternary(
    axes: Axes, plot: Plot, cells: Sequence[Cell], summaries: Mapping[str, Summary], figure: str
) -> None:
    """The mixes as points of a triangle, coloured by the figure."""
    weights = np.array(
        [[float(cell.value(f"batching.mix.{kind}")) for kind in KINDS] for cell in cells]
    )
    places = weights / weights.sum(axis=1, keepdims=True) @ CORNERS
    values = np.array([summaries[cell.name].mean for cell in cells])
    norm = Normalize(values.min(), values.max() + 1e-12)
    colours = colormaps["cividis_r" if lower_is_better(figure) else "cividis"]
    if np.linalg.matrix_rank(places - places[0]) == 2:
        triangles = Triangulation(*places.T)
        axes.tricontourf(triangles, values, levels=12, cmap=colours, norm=norm, alpha=0.55)
    axes.scatter(
        places[:, 0], places[:, 1], c=values, cmap=colours, norm=norm, edgecolor=INK, s=36, zorder=3
    )
    for (x, y), value in zip(places, values, strict=True):
        text = f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
        axes.annotate(
            text, (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=6, color=INK
        )
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color=GRID, linewidth=1, zorder=1)
    for (x, y), name, above in zip(CORNERS, KINDS, (-1, -1, 1), strict=True):
        axes.annotate(
            name.replace("_", "-"),
            (x, y),
            (0, 14 * above),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7,
            color=FAINT,
        )
    axes.set_aspect("equal")
    axes.set_xlim(-0.2, 1.2)
    axes.set_ylim(-0.16, 1.06)
    axes.axis("off")


PAINTERS: dict[str, Any] = {"line": _line, "bars": _bars, "ternary": _ternary}


def _direction(axes: Axes, figure: str, horizontal: bool = False) -> None:
    if lower_is_better(figure):
        label = "lower is better"
        (axes.set_xlabel if horizontal else axes.set_ylabel)(label, fontsize=8, color=FAINT)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=INK, length=3, labelsize=8)
    axes.set_axisbelow(True)


def _plain(name: str) -> str:
    """A name to show verbatim: matplotlib reads dollar signs as mathematics."""
    return printable(name).replace("$", r"\$")


def as_files(drawing: Figure) -> tuple[bytes, bytes]:
    """The drawing as PNG and as PDF; the same drawing gives the same bytes."""
    png, pdf = io.BytesIO(), io.BytesIO()
    drawing.savefig(png, format="png", dpi=200)
    drawing.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    return png.getvalue(), pdf.getvalue()
