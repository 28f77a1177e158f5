"""Differences between runs, query by query, and how likely chance makes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bootstrap import Difference, Draws, Resampled
from hybrid_dist.evaluation.per_query import FILE, PerQuery


@dataclass(frozen=True)
class Paired:
    """What can be told of runs beside the first one."""

    differences: Mapping[str, Mapping[str, Difference]]
    """Of each run: how much a figure is above the first run's, by the figure's dotted name."""
    refused: Mapping[str, str]
    """Runs that cannot be paired with the first, and why."""


def pair(folders: Mapping[str, Path], ids: Mapping[str, str]) -> Paired:
    """Compare the reports in the folders with the first of them; `ids` are the reports'."""
    found: dict[str, PerQuery] = {}
    refused: dict[str, str] = {}
    for run, folder in folders.items():
        if not (folder / FILE).is_file():
            refused[run] = f"its report has no {FILE}; evaluate it again"
            continue
        try:
            found[run] = PerQuery.load(folder / FILE)
        except UserError as error:
            refused[run] = str(error)
            continue
        if found[run].report != ids[run]:
            raise UserError(
                f"{folder}: its report.json and {FILE} are of two reports (ids {ids[run]} and "
                f"{found[run].report or 'none'}); evaluate the run again"
            )
    first, *others = folders
    if first in refused or not others:
        return Paired({}, refused)
    base = found.pop(first)
    for run, scores in list(found.items()):
        if why := _other_queries(base, scores):
            refused[run] = why
            found.pop(run)
    if not found:
        return Paired({}, refused)
    draws = Draws.of(base.ids)
    theirs = Resampled.of(base, draws).figures()
    differences = {}
    for run, scores in found.items():
        ours = Resampled.of(scores, draws).figures()
        differences[run] = {
            name: Difference.of(ours[name], theirs[name]) for name in ours if name in theirs
        }
    return Paired(differences, refused)


def _other_queries(base: PerQuery, scores: PerQuery) -> str:
    """Why two runs did not answer the same queries; nothing where they did."""
    if base.languages != scores.languages:
        return f"its languages are {', '.join(scores.languages)}"
    ids = set(zip(base.ids.tolist(), base.language.tolist(), strict=True))
    other = set(zip(scores.ids.tolist(), scores.language.tolist(), strict=True))
    if ids != other:
        names = (f"{name} in {base.languages[code]}" for name, code in sorted(ids ^ other)[:3])
        return f"{len(ids ^ other):,} queries are in one of them only (first: {', '.join(names)})"
    same = all(
        np.array_equal(getattr(base, name), getattr(scores, name))
        for name in ("ids", "cell_query", "cell_pool")
    )
    return "" if same else "its queries are answered in other languages"
