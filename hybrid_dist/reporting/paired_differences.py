"""Paired differences between runs, query by query, with intervals and p-values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bootstrap import Difference, Draws, Resampled
from hybrid_dist.evaluation.per_query import FILE, PerQuery
from hybrid_dist.reporting.language_differences import LanguageDifferences, LanguageFigures

SHOWN, MOST_SHOWN = 3, 400
"""Improved queries, and degraded ones: of a language, and of all languages and runs together."""


@dataclass(frozen=True)
class Paired:
    """Differences of the runs from the first one."""

    differences: Mapping[str, Mapping[str, Difference]]
    """Run -> dotted name of a figure -> its difference from the first run's."""
    refused: Mapping[str, str]
    """Run -> why it cannot be paired with the first."""
    pairwise: Mapping[tuple[str, str], Mapping[str, Difference]] = field(default_factory=dict)
    """(Run, a run before it) -> figure -> difference, for every two runs that are paired."""
    by_language: Mapping[str, LanguageDifferences] = field(default_factory=dict)
    """Run -> its differences from the first by language."""


def pair(folders: Mapping[str, Path], ids: Mapping[str, str]) -> Paired:
    """Compare the reports with the first one. Both mappings are by run; `ids` are report ids."""
    scores: dict[str, PerQuery] = {}
    refused: dict[str, str] = {}
    for run, folder in folders.items():
        if not (folder / FILE).is_file():
            refused[run] = f"its report has no {FILE}; evaluate it again"
            continue
        try:
            scores[run] = PerQuery.load(folder / FILE)
        except UserError as error:
            refused[run] = str(error)
            continue
        if scores[run].report != ids[run]:
            raise UserError(
                f"{folder}: its report.json and {FILE} are of two reports (ids {ids[run]} and "
                f"{scores[run].report or 'none'}); evaluate the run again"
            )
    first, *others = folders
    if first in refused or not others:
        return Paired({}, refused)
    base = scores.pop(first)
    for run, run_scores in list(scores.items()):
        if reason := _mismatch(base, run_scores):
            refused[run] = reason
            scores.pop(run)
    if not scores:
        return Paired({}, refused)
    draws = Draws.of(base.ids)
    resampled = Resampled.of(base, draws)
    figures = {first: resampled.figures()}
    base_by_language = base, LanguageFigures.of(resampled)
    shown = max(1, min(SHOWN, MOST_SHOWN // (len(base.languages) * len(scores))))
    by_language = {}
    for run, run_scores in scores.items():
        resampled = Resampled.of(run_scores, draws)
        figures[run] = resampled.figures()
        ours = run_scores, LanguageFigures.of(resampled)
        by_language[run] = LanguageDifferences.of(ours, base_by_language, shown)
    pairwise = {
        (run, before): {
            name: Difference.of(values, figures[before][name], draws.weights.shape[1])
            for name, values in figures[run].items()
            if name in figures[before]
        }
        for before, run in combinations(figures, 2)
    }
    differences = {run: pairwise[run, first] for run in scores}
    return Paired(differences, refused, pairwise, by_language)


def _mismatch(base: PerQuery, scores: PerQuery) -> str:
    """Why two runs cannot be paired, or an empty string if they were scored on the same queries."""
    if base.languages != scores.languages:
        return f"its languages are {', '.join(scores.languages)}"
    queries, base_queries = (
        set(zip(run.ids.tolist(), run.language.tolist(), strict=True)) for run in (scores, base)
    )
    if different := queries ^ base_queries:
        names = (f"{name} in {base.languages[code]}" for name, code in sorted(different)[:3])
        return f"{len(different):,} queries are in one of them only (first: {', '.join(names)})"
    same = all(
        np.array_equal(getattr(base, name), getattr(scores, name))
        for name in ("ids", "cell_query", "cell_pool")
    )
    return "" if same else "its queries have relevant passages in other languages"
