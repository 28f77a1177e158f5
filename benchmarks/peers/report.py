"""The results as one table and one plot."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments import OURS, PEERS

Results = dict[str, Any]
NAMES = tuple(side.name for side in (OURS, *PEERS))


@dataclass(frozen=True)
class Measure:
    """A row of the table."""

    title: str
    values: Callable[[Results, str], Sequence[float]]
    """Those of a side, of which the median is compared."""
    digits: int = 2
    higher: bool = False
    """Whether higher is better."""


def _of(part: str, value: Callable[[Any], float]) -> Callable[[Results, str], list[float]]:
    """A value of each result of a side."""
    return lambda results, side: [value(one) for one in results.get(part, {}).get(side, [])]


def _steps(part: str) -> Callable[[Results, str], list[float]]:
    """All steps but the first of each process."""
    return lambda results, side: [
        seconds for one in results.get(part, {}).get(side, []) for seconds in one["step_s"][1:]
    ]


def _largest(name: str) -> Callable[[Results, str], list[float]]:
    def values(results: Results, side: str) -> list[float]:
        found = results.get("largest", {}).get(side, {}).get(name)
        return [found["size"]] if found else []

    return values


def _quality(name: str) -> Callable[[Results, str], list[float]]:
    def values(results: Results, side: str) -> list[float]:
        found = results.get("quality", {}).get(side)
        return [found[name]] if found else []

    return values


def _evaluation(what: str, value: str) -> Callable[[Results, str], list[float]]:
    def values(results: Results, side: str) -> list[float]:
        found = results.get("evaluation", {}).get(what, {}).get(side, [])
        return [one[value] for one in found]

    return values


def measures(sizes: dict[str, Any]) -> list[Measure]:
    batch, chunk, large = sizes["batch"], sizes["chunk"], sizes["large_batch"]
    limit, most, encoded = sizes["limit_gib"], sizes["largest"], 2 * sizes["encoded"]
    trained = f"after {sizes['seconds']:g} s: "
    return [
        Measure("from start to the first step, s", _of("speed", lambda one: one["start_s"]), 1),
        Measure(f"step of {batch} pairs, s", _steps("speed")),
        Measure("peak memory, GiB", _of("speed", lambda one: one["peak_gib"])),
        Measure(f"step of {large} in chunks of {chunk}, s", _steps("chunks")),
        Measure("peak memory in chunks, GiB", _of("chunks", lambda one: one["peak_gib"])),
        Measure(f"largest batch in {limit:g} GiB", _largest("at once"), 0, True),
        Measure(f"largest batch in chunks (up to {most} tried)", _largest("in chunks"), 0, True),
        Measure(
            "texts encoded per second",
            _of("speed", lambda one: encoded / one["encode_s"]),
            0,
            True,
        ),
        Measure(trained + "steps", _quality("steps"), 0, True),
        Measure(trained + "mAP monolingual", _quality("monolingual"), 3, True),
        Measure(trained + "mAP cross-lingual", _quality("cross_lingual"), 3, True),
        Measure(trained + "mAP multilingual", _quality("multilingual"), 3, True),
        Measure(trained + "rank distance", _quality("rank_distance"), 0),
        Measure("vectors evaluated: all pairs of languages, s", _evaluation("vectors", "pairs")),
        Measure("vectors evaluated: the pool alone, s", _evaluation("vectors", "pooled")),
        Measure("a model from start to figures, s", _evaluation("model", "seconds"), 1),
    ]


def markdown(results: Results) -> str:
    """The table, what failed, and where a peer is ahead."""
    shown = _shown(results)
    rows = [("", *shown), ("---",) * (len(shown) + 1), ("version", *_versions(results, shown))]
    ahead = []
    for measure in measures(results["sizes"]):
        values = {name: measure.values(results, name) for name in shown}
        medians = {name: statistics.median(found) for name, found in values.items() if found}
        if not medians:
            continue
        best = (max if measure.higher else min)(medians.values())
        rows.append((measure.title, *(_cell(measure, values[name], best) for name in shown)))
        if OURS.name not in medians:
            continue
        ours, texts = medians[OURS.name], {name: _text(measure, medians[name]) for name in medians}
        leading = [
            f"{name} {texts[name]}"
            for name, median in medians.items()
            if (median > ours) == measure.higher and texts[name] != texts[OURS.name]
        ]
        if leading:
            own = f"{OURS.name} {texts[OURS.name]}"
            ahead.append(f"- {measure.title}: {', '.join(leading)}; {own}")
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    start = results.get("quality", {}).get("start")
    if start:
        figures = ", ".join(f"{name} {value:,.3f}" for name, value in start.items())
        lines += ["", f"Before training: {figures}."]
    if ahead:
        lines += ["", "Ahead of hybrid_dist:", "", *ahead]
    failures = [
        f"- {name}, {part}: {error}"
        for name in NAMES
        for part, error in results["sides"].get(name, {}).get("errors", {}).items()
    ]
    if failures:
        lines += ["", "Did not run:", "", *failures]
    return "\n".join(lines) + "\n"


def _shown(results: Results) -> list[str]:
    return [name for name in NAMES if name == OURS.name or name in results["sides"]]


def _versions(results: Results, shown: Sequence[str]) -> list[str]:
    """The version of each side itself."""
    found = [results["sides"].get(name, {}).get("versions", {}) for name in shown]
    return [next(iter(versions.values()), "") for versions in found]


def _cell(measure: Measure, values: Sequence[float], best: float) -> str:
    """The median, with the smallest and largest value; the best median is in bold."""
    if not values:
        return ""
    text = _text(measure, statistics.median(values))
    if text == _text(measure, best):
        text = f"**{text}**"
    if len(values) > 1:
        text += f" ({_text(measure, min(values))} to {_text(measure, max(values))})"
    return text


def _text(measure: Measure, value: float) -> str:
    return f"{value:,.{measure.digits}f}"


def plot(results: Results, file: Path) -> None:
    """Bars of the medians, with lines from the smallest to the largest value."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = _shown(results)
    drawn = []
    for measure in measures(results["sizes"]):
        values = {name: found for name in shown if (found := measure.values(results, name))}
        if len(values) > 1:
            drawn.append((measure, values))
    if not drawn:
        return
    columns = 3
    lines = -(-len(drawn) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(13, 1.9 * lines), squeeze=False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes, (measure, values) in zip(grid.flat, drawn, strict=False):
        medians = [statistics.median(found) for found in values.values()]
        errors = [
            [median - min(found) for median, found in zip(medians, values.values(), strict=True)],
            [max(found) - median for median, found in zip(medians, values.values(), strict=True)],
        ]
        colors = ["tab:blue" if name == OURS.name else "lightgray" for name in values]
        axes.barh(list(values), medians, xerr=errors, color=colors, ecolor="dimgray")
        axes.invert_yaxis()
        better = "higher" if measure.higher else "lower"
        axes.set_title(f"{measure.title}\n({better} is better)", fontsize=8)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(labelsize=7)
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=150)
    plt.close(figure)
