"""Groups of query languages: seen in training, unseen, those that the user names, and those of one
script, family or resource tier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybrid_dist.data.languages import canonical
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.evaluation.bootstrap import Resampled, interval
from hybrid_dist.evaluation.language_table import COLUMNS, attributes
from hybrid_dist.evaluation.tasks import Task

SHOWN = ("map.monolingual", "map.cross_lingual", "map.multilingual", "bias.rank_distance.mean")
"""The figures reported for a group."""
Groups = Mapping[str, tuple[str, ...]]
"""Name of a group -> its languages."""


@dataclass(frozen=True)
class LanguageGroups:
    """The groups of an evaluation."""

    named: Groups = field(default_factory=dict)
    trained: frozenset[str] | None = None
    """The languages that the model was trained on, if known."""
    ungrouped: Groups = field(default_factory=dict)
    """Column of the language table that groups them -> languages of which it has no value."""

    @classmethod
    def of(
        cls, given: Sequence[str], tasks: Sequence[Task], trained: Sequence[str] | None = None
    ) -> "LanguageGroups":
        """Parse NAME=LANGUAGE,LANGUAGE, or a column of the language table.

        Every language that is named must have queries in some task.
        """
        known = {language for task in tasks for language in _query_languages(task)}
        named: list[tuple[str, tuple[str, ...]]] = []
        ungrouped: dict[str, tuple[str, ...]] = {}
        for group in given:
            if group in COLUMNS:
                groups, ungrouped[group] = _by_column(group, known)
                named += groups.items()
            else:
                named.append(_parse(group, known))
        if len(dict(named)) < len(named):
            raise UserError(
                f"groups: {', '.join(given)}: a name is used twice; give each group its own name"
            )
        return cls(dict(named), None if trained is None else frozenset(trained), ungrouped)

    def within(self, task: Task) -> dict[str, tuple[str, ...]]:
        """The groups, restricted to the task's query languages; empty groups are left out."""
        present = _query_languages(task)
        groups: dict[str, tuple[str, ...]] = {}
        if self.trained is not None:
            groups["seen"] = tuple(name for name in present if name in self.trained)
            groups["unseen"] = tuple(name for name in present if name not in self.trained)
        for group, languages in self.named.items():
            groups[group] = tuple(name for name in present if name in languages)
        return {name: languages for name, languages in groups.items() if languages}

    def omissions(self, task: Task) -> dict[str, str]:
        """Which of the task's query languages the language table cannot group, for the report."""
        present = _query_languages(task)
        missing = {
            column: [name for name in present if name in languages]
            for column, languages in self.ungrouped.items()
        }
        return {
            f"languages without a known {column}": ", ".join(names)
            for column, names in missing.items()
            if names
        }


def _query_languages(task: Task) -> tuple[str, ...]:
    return tuple(task.languages[code] for code in np.unique(task.query_language))


def _by_column(column: str, known: set[str]) -> tuple[Groups, tuple[str, ...]]:
    """The groups of languages with one value of a column, and the languages without a value."""
    values = {language: getattr(attributes(language), column) for language in sorted(known)}
    names = sorted({value for value in values.values() if value is not None})
    groups = {
        f"{column} {name}": tuple(code for code, value in values.items() if value == name)
        for name in names
    }
    return groups, tuple(code for code, value in values.items() if value is None)


def _parse(given: str, known: set[str]) -> tuple[str, tuple[str, ...]]:
    name, equals, listed = given.partition("=")
    codes = [code.strip() for code in listed.split(",")]
    if not (name and equals and all(codes)):
        raise UserError(
            f"groups: {given!r} is not NAME=LANGUAGE,LANGUAGE, as in low_resource=sw,th, nor one "
            f"of {', '.join(COLUMNS)}"
        )
    languages = []
    for code in codes:
        try:
            language = canonical(code)
        except ValueError as error:
            raise UserError(f"groups: {given!r}: {error}") from None
        if language not in known:
            raise UserError(
                f"groups: {given!r}: no task has queries in {language!r}"
                f"{nearest(language, known)} (they have {', '.join(sorted(known))})"
            )
        languages.append(language)
    return name, tuple(languages)


def summary(resampled: Resampled, groups: Groups) -> dict[str, Any]:
    """The figures of every group and their intervals."""
    rows = {}
    for name, languages in groups.items():
        draws = resampled.figures(languages, SHOWN)
        rows[name] = {
            "languages": list(languages),
            "figures": {key: float(draws[key][0]) for key in SHOWN if key in draws},
            "intervals": {key: interval(draws[key]) for key in SHOWN if key in draws},
        }
    return rows


def spread(resampled: Resampled) -> dict[str, Any]:
    """The best and the worst query language, the gap between them, and the standard deviation.

    The gap's interval takes as given which two languages these are.
    """
    rows = {}
    by_language = [resampled.figures([language], SHOWN) for language in resampled.languages]
    for key in SHOWN:
        draws = {
            language: figures[key]
            for language, figures in zip(resampled.languages, by_language, strict=True)
            if key in figures
        }
        if len(draws) < 2:
            continue
        lower_is_better = key.startswith("bias.")
        order = sorted(draws, key=lambda name: float(draws[name][0]), reverse=not lower_is_better)
        best, worst = order[0], order[-1]
        gap = draws[best] - draws[worst]
        gap = -gap if lower_is_better else gap
        rows[key] = {
            "best": best,
            "worst": worst,
            "gap": float(gap[0]),
            "gap_interval": interval(gap),
            "standard_deviation": float(np.std([values[0] for values in draws.values()])),
        }
    return rows
