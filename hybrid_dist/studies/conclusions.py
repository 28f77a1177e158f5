"""The paragraph of a report that says what the figures support, and what they do not."""

from collections.abc import Sequence

from hybrid_dist.studies.cells import Grid
from hybrid_dist.studies.run_states import RunState
from hybrid_dist.studies.study_plots import figure_name
from hybrid_dist.studies.study_results import TaskResults, lower_is_better
from hybrid_dist.studies.study_statistics import (
    MIN_SEEDS,
    QUERIES,
    SEEDS,
    SIGNIFICANCE,
    Effect,
    optimum,
)
from hybrid_dist.studies.study_tables import interval_text, p_text, shown, trend_cells

SHOWN = 8
"""Differences that one sentence lists."""


def conclusions(
    grid: Grid, results: TaskResults, effects: dict[tuple[str, str], Effect]
) -> list[str]:
    """Sentences about one task."""
    sentences = []
    by_level = {
        level: {key: effect for key, effect in effects.items() if effect.level == level}
        for level in (SEEDS, QUERIES)
    }
    if tested := by_level[SEEDS]:
        sentences += _of_seeds(grid, tested, len(effects))
    if seen := by_level[QUERIES]:
        sentences += _of_queries(grid, seen)
    if not effects:
        sentences.append("No cell can be compared with the baseline yet.")
    return sentences + _of_trends(grid, results)


def _of_seeds(grid: Grid, effects: dict[tuple[str, str], Effect], family: int) -> list[str]:
    """What is significant with enough seeds, and what is not."""
    significant = {key: e for key, e in effects.items() if e.p_holm < SIGNIFICANCE}
    better = {key: e for key, e in significant.items() if _is_better(key[1], e)}
    worse = {key: e for key, e in significant.items() if key not in better}
    sentences = [
        f"{len(significant)} of {len(effects)} differences from {grid.baseline_name} hold at 5% "
        f"after correction for {family} tests, over seeds and queries."
    ]
    if better:
        sentences.append(f"Supported, better than {grid.baseline_name}: {_list(better)}.")
    if worse:
        sentences.append(f"Supported, worse than {grid.baseline_name}: {_list(worse)}.")
    if rest := {key: e for key, e in effects.items() if key not in significant}:
        sentences.append(
            f"Not supported in either direction: {_list(rest)}. That is no evidence that these "
            "are equal: their intervals say how large a difference may be."
        )
    return sentences


def _of_queries(grid: Grid, effects: dict[tuple[str, str], Effect]) -> list[str]:
    """What can be said with few seeds: signs that agree, and no more."""
    fewest = min(effect.seeds for effect in effects.values())
    agree = {key: e for key, e in effects.items() if e.agreeing == e.seeds}
    better = {key: e for key, e in agree.items() if _is_better(key[1], e)}
    worse = {key: e for key, e in agree.items() if key not in better}
    sentences = [
        f"With {fewest} {'seed' if fewest == 1 else 'seeds'}, fewer than {MIN_SEEDS}, the figures "
        "do not support a claim about other seeds: p-values are those of the queries, for these "
        "trained models."
    ]
    where = "the seed" if fewest == 1 else "every seed"
    if better:
        sentences.append(f"Better than {grid.baseline_name} in {where}: {_list(better)}.")
    if worse:
        sentences.append(f"Worse than {grid.baseline_name} in {where}: {_list(worse)}.")
    if rest := {key: e for key, e in effects.items() if key not in agree}:
        sentences.append(f"Seeds disagree on the sign: {_list(rest)}.")
    return sentences


def _of_trends(grid: Grid, results: TaskResults) -> list[str]:
    """Where the optima are, and how wide the plateaus."""
    sentences = []
    for trend in grid.study.trends:
        for figure, by_cell in results.values.items():
            for label, cells in trend_cells(trend, grid, results, figure).items():
                x = [float(cell.value(trend.x)) for cell in cells]
                if len(set(x)) < 3:
                    continue
                best = optimum(x, [by_cell[cell.name] for cell in cells], lower_is_better(figure))
                line = f"{figure_name(figure)}{'' if label == 'all' else f' ({label})'}"
                sentences.append(
                    f"Over {trend.x}, {line} is best at {best.best:g}; not distinguishable from "
                    f"it: {', '.join(f'{place:g}' for place in best.plateau)}."
                )
    return sentences


def _is_better(figure: str, effect: Effect) -> bool:
    return (effect.value < 0) == lower_is_better(figure)


def _list(effects: dict[tuple[str, str], Effect]) -> str:
    """The largest effects with their sizes, and how many more there are."""
    ordered = sorted(effects.items(), key=lambda item: item[1].p_holm)
    texts = [
        f"{cell} {figure_name(figure)} {shown(figure, effect.value, signed=True)} "
        f"({interval_text(figure, effect.low, effect.high)}; {p_text(effect.p_holm)})"
        for (cell, figure), effect in ordered[:SHOWN]
    ]
    more = len(ordered) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def limits(grid: Grid, states: Sequence[RunState]) -> list[str]:
    """What holds for the whole study: runs that are missing, and what was not varied."""
    sentences = []
    failed = sum(state.state == "failed" for state in states)
    waiting = sum(state.state not in ("finished", "failed") for state in states)
    if failed or waiting:
        sentences.append(
            f"Of {len(states)} runs {failed} failed and {waiting} are not finished: means are over "
            "the others, and cells with fewer seeds are less certain."
        )
    seeds = len(grid.study.seeds)
    sentences.append(
        f"All figures are of this base config and its data, with {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}; they do not say what other models, data or lengths "
        "of training would give."
    )
    return sentences
