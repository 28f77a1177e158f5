"""The figures of a study's runs, read back from their reports: per task, figure and cell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bootstrap import Draws, Resampled
from hybrid_dist.evaluation.per_query import FILE, PerQuery
from hybrid_dist.studies.cells import CellRun, Grid
from hybrid_dist.studies.study_statistics import Effect, Summary, with_holm
from hybrid_dist.tracking.report_json import REPORT, read_report

BIAS = "bias."
HIGHER_IS_BETTER = ("bias.complete_at", "bias.first_hit")
WORST = "worst"


def lower_is_better(figure: str) -> bool:
    """Whether a smaller value of a figure is better: of all measures of bias but a few."""
    return figure.startswith(BIAS) and not figure.startswith(HIGHER_IS_BETTER)


@dataclass(frozen=True)
class TaskResults:
    """What the runs of a study gave on one task."""

    label: str
    size: str
    """Its size in words."""
    ids: int
    """The number of query ids."""
    values: Mapping[str, Mapping[str, np.ndarray]]
    """Figure -> cell -> [S, B]: its runs, by draws of query ids."""
    seeds: Mapping[str, tuple[int | None, ...]]
    """Cell -> the seeds of its runs that have a report, in the order of `values`."""
    refused: Mapping[str, str]
    """Run -> why its report is not used."""

    def summaries(self, figure: str) -> dict[str, Summary]:
        """The summary of every cell that has the figure."""
        return {cell: Summary.of(values) for cell, values in self.values[figure].items()}

    def effects(self, grid: Grid) -> dict[tuple[str, str], Effect]:
        """(Cell, figure) -> its difference from its baseline, corrected for all of them."""
        effects = {}
        for figure, by_cell in self.values.items():
            for cell in grid.cells:
                other = grid.baseline_of(cell)
                if other is None or not {cell.name, other.name} <= by_cell.keys():
                    continue
                if pair := self._paired(by_cell, cell.name, other.name):
                    effects[cell.name, figure] = Effect.of(*pair, self.ids)
        return with_holm(effects)

    def _paired(
        self, by_cell: Mapping[str, np.ndarray], cell: str, baseline: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The values of two cells, seed by seed; a model that was not trained pairs with all."""
        ours, theirs = self.seeds[cell], self.seeds[baseline]
        if ours == (None,) or theirs == (None,):
            return by_cell[cell], by_cell[baseline]
        common = [seed for seed in ours if seed in theirs]
        if not common:
            return None
        return (
            by_cell[cell][[ours.index(seed) for seed in common]],
            by_cell[baseline][[theirs.index(seed) for seed in common]],
        )


def read_results(grid: Grid) -> list[TaskResults]:
    """The results on every task that any run has a report on."""
    read = (_read_task(grid, label) for label in grid.study.tasks)
    return [results for results in read if results is not None]


def _read_task(grid: Grid, label: str) -> TaskResults | None:
    """The results on a task, from all runs that were scored on the same queries."""
    refused: dict[str, str] = {}
    first: PerQuery | None = None
    draws: Draws | None = None
    size = ""
    by_cell: dict[str, dict[int | None, dict[str, np.ndarray]]] = {}
    for run in grid.all_runs():
        if label not in run.tasks or not (run.reports(label) / REPORT).is_file():
            continue
        try:
            scores = read_scores(run, label)
        except UserError as error:
            refused[run.name] = str(error)
            continue
        if first is None or draws is None:
            first, draws, size = scores, Draws.of(scores.ids), _size(run, label)
        elif not _are_paired(first, scores):
            refused[run.name] = "its report is on other queries than those of other runs"
            continue
        figures = _figures(scores, draws, grid.study.figures, grid.study.groups)
        by_cell.setdefault(run.cell.name, {})[run.seed] = figures
    if first is None:
        return None
    values: dict[str, dict[str, np.ndarray]] = {}
    for figure in grid.study.figures:
        for cell in (cell.name for cell in grid.cells if cell.name in by_cell):
            rows = [figures[figure] for figures in by_cell[cell].values() if figure in figures]
            if rows and len(rows) == len(by_cell[cell]):
                values.setdefault(figure, {})[cell] = np.stack(rows)
    seeds = {cell: tuple(runs) for cell, runs in by_cell.items()}
    return TaskResults(label, size, len(np.unique(first.ids)), values, seeds, refused)


def read_scores(run: CellRun, label: str) -> PerQuery:
    """The per-query values of a run on a task; a UserError if they are not those of its report."""
    folder = run.reports(label)
    report, scores = read_report(folder / REPORT), PerQuery.load(folder / FILE)
    if report["id"] != scores.report:
        raise UserError(f"{folder}: its {REPORT} and {FILE} are of two reports; evaluate it again")
    return scores


def _size(run: CellRun, label: str) -> str:
    counts = read_report(run.reports(label) / REPORT)["counts"]
    return f"{counts['queries']:,} queries and {counts['passages']:,} passages"


def _are_paired(one: PerQuery, other: PerQuery) -> bool:
    arrays = ("ids", "language", "cell_query", "cell_pool")
    return one.languages == other.languages and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def _figures(
    scores: PerQuery,
    draws: Draws,
    figures: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, np.ndarray]:
    """Figure -> its draws [B]; figures that the task does not have are left out."""
    resampled = Resampled.of(_only(scores, figures), draws)
    of_group: dict[str, dict[str, np.ndarray]] = {}
    result = {}
    for figure in figures:
        name, _, group = figure.partition("@")
        if group == WORST:
            by_language = [value for value in _by_language(resampled, name) if value is not None]
            if by_language:
                worst = np.fmax if lower_is_better(name) else np.fmin
                result[figure] = worst.reduce(by_language)
            continue
        if group not in of_group:
            of_group[group] = resampled.figures(groups[group] if group else None)
        if name in of_group[group]:
            result[figure] = of_group[group][name]
    return result


def _by_language(resampled: Resampled, figure: str) -> Iterator[np.ndarray | None]:
    for language in resampled.languages:
        yield resampled.figures([language]).get(figure)


def _only(scores: PerQuery, figures: Sequence[str]) -> PerQuery:
    """The scores of these figures alone, which are resampled faster."""
    names = {figure.partition("@")[0] for figure in figures}
    metrics = {name.partition(".")[0] for name in names if not name.startswith(BIAS)}
    pooled = names | {f"{name}.multilingual" for name in metrics}
    return replace(
        scores,
        by_pool={name: v for name, v in scores.by_pool.items() if name in metrics},
        pooled={name: v for name, v in scores.pooled.items() if name in pooled},
    )
