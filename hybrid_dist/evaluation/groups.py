"""Groups of query languages: those trained on, those not, and others that people name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybrid_dist.data.languages import canonical
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.evaluation.bootstrap import Resampled, interval
from hybrid_dist.evaluation.tasks import Task

SHOWN = ("map.monolingual", "map.cross_lingual", "map.multilingual", "bias.rank_distance.mean")
"""The figures of a group."""
Groups = Mapping[str, tuple[str, ...]]
"""Languages by the name of their group."""


@dataclass(frozen=True)
class LanguageGroups:
    """What groups an evaluation tells of."""

    named: Groups = field(default_factory=dict)
    trained: frozenset[str] | None = None
    """The languages that the model was trained on, where they are known."""

    @classmethod
    def of(
        cls, given: Sequence[str], tasks: Sequence[Task], trained: Sequence[str] | None = None
    ) -> "LanguageGroups":
        """Read NAME=LANGUAGE,LANGUAGE; every language has to be one that some task asks in."""
        asked = {language for task in tasks for language in _asked(task)}
        named = dict(_read(one, asked) for one in given)
        if len(named) < len(given):
            raise UserError(f"groups: {', '.join(given)}: a name is given twice; name each once")
        return cls(named, None if trained is None else frozenset(trained))

    def within(self, task: Task) -> dict[str, tuple[str, ...]]:
        """The groups, with the languages that the task asks in; empty ones are left out."""
        asked = _asked(task)
        groups: dict[str, tuple[str, ...]] = {}
        if self.trained is not None:
            groups["seen"] = tuple(name for name in asked if name in self.trained)
            groups["unseen"] = tuple(name for name in asked if name not in self.trained)
        groups |= {name: tuple(x for x in asked if x in some) for name, some in self.named.items()}
        return {name: languages for name, languages in groups.items() if languages}


def _asked(task: Task) -> tuple[str, ...]:
    return tuple(task.languages[code] for code in np.unique(task.query_language))


def _read(given: str, asked: set[str]) -> tuple[str, tuple[str, ...]]:
    name, equals, listed = given.partition("=")
    codes = [code.strip() for code in listed.split(",")]
    if not (name and equals and all(codes)):
        raise UserError(
            f"groups: {given!r} is not NAME=LANGUAGE,LANGUAGE, as in low_resource=sw,th"
        )
    languages = []
    for code in codes:
        try:
            language = canonical(code)
        except ValueError as error:
            raise UserError(f"groups: {given!r}: {error}") from None
        if language not in asked:
            raise UserError(
                f"groups: {given!r}: no task has queries in {language!r}"
                f"{nearest(language, asked)} (they have {', '.join(sorted(asked))})"
            )
        languages.append(language)
    return name, tuple(languages)


def summary(resampled: Resampled, groups: Groups) -> dict[str, Any]:
    """Every group's figures and their intervals."""
    rows = {}
    for name, languages in groups.items():
        drawn = resampled.figures(languages)
        rows[name] = {
            "languages": list(languages),
            "figures": {key: float(drawn[key][0]) for key in SHOWN if key in drawn},
            "intervals": {key: interval(drawn[key]) for key in SHOWN if key in drawn},
        }
    return rows


def spread(resampled: Resampled) -> dict[str, Any]:
    """How far apart languages are: best, worst, the gap between them, standard deviation.

    The gap's interval is that of the two languages: which are best and worst is taken as known.
    """
    rows = {}
    by_language = [resampled.figures([language]) for language in resampled.languages]
    for key in SHOWN:
        drawn = {
            language: figures[key]
            for language, figures in zip(resampled.languages, by_language, strict=True)
            if key in figures
        }
        if len(drawn) < 2:
            continue
        lower_is_better = key.startswith("bias.")
        order = sorted(drawn, key=lambda name: float(drawn[name][0]), reverse=not lower_is_better)
        best, worst = order[0], order[-1]
        gap = drawn[best] - drawn[worst]
        gap = -gap if lower_is_better else gap
        rows[key] = {
            "best": best,
            "worst": worst,
            "gap": float(gap[0]),
            "gap_interval": interval(gap),
            "standard_deviation": float(np.std([values[0] for values in drawn.values()])),
        }
    return rows
