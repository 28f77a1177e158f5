"""What queries and passages are called outside: in TREC runs, and beside vectors made elsewhere.

Where a task has several languages, an id alone says too little: a query is `ID_LANGUAGE`, a
passage `LANGUAGE_ID`, as in LAReQA. Where it has one, both are their ids.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tasks import Task

SHOWN = 80
"""Letters of a name in messages."""


def query_names(task: Task) -> list[str]:
    if len(task.languages) == 1:
        return list(task.query_ids)
    asked = zip(task.query_ids, task.query_language.tolist(), strict=True)
    return _distinct(task, "queries", [f"{name}_{task.languages[code]}" for name, code in asked])


def passage_names(task: Task) -> list[str]:
    if len(task.languages) == 1:
        return list(task.passage_ids)
    told = zip(task.passage_ids, task.passage_language.tolist(), strict=True)
    return _distinct(task, "passages", [f"{task.languages[code]}_{name}" for name, code in told])


def first_of(names: Iterable[str]) -> str:
    """The first three, for messages."""
    shown = [name[:SHOWN] for _, name in zip(range(3), names, strict=False)]
    return f"first: {', '.join(shown)}"


def numbered(names: Sequence[str], where: str) -> dict[str, int]:
    """The number of each name; one that comes twice is refused."""
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        again = [name for number, name in enumerate(names) if numbers[name] != number]
        raise UserError(
            f"{where}: {len(again):,} ids come again ({first_of(again)}); every id stands once"
        )
    return numbers


def positions(
    wanted: Sequence[str], given: Sequence[str], where: str, task: Task, codes: np.ndarray
) -> np.ndarray:
    """Where each wanted name stands among the given ones; both have to be the same names.

    `codes` are the languages of the wanted ones.
    """
    numbers = numbered(given, where)
    place = np.array([numbers.get(name, -1) for name in wanted], dtype=np.int64)
    missing = np.flatnonzero(place < 0)
    if len(missing):
        told = first_of(wanted[row] for row in missing.tolist())
        raise UserError(
            f"{where}: {len(missing):,} of the {len(wanted):,} ids of task {task.name} are not "
            f"there ({told}{_whole(task, codes, missing)}); it begins with "
            f"{', '.join(name[:SHOWN] for name in given[:3]) or 'nothing'}"
        )
    if len(given) > len(wanted):
        known = set(wanted)
        unknown = [name for name in given if name not in known]
        raise UserError(
            f"{where}: {len(unknown):,} of its {len(given):,} ids are not in task {task.name} "
            f"({first_of(unknown)}); they are called as in {wanted[0]}"
        )
    return place


def _whole(task: Task, codes: np.ndarray, missing: np.ndarray) -> str:
    """The languages of which nothing is there."""
    absent = np.bincount(codes[missing], minlength=len(task.languages))
    present = np.bincount(codes, minlength=len(task.languages))
    gone = [task.languages[c] for c in np.flatnonzero((absent == present) & (present > 0))]
    return f"; all of {', '.join(gone)}" if gone else ""


def _distinct(task: Task, what: str, names: list[str]) -> list[str]:
    numbered(names, f"task {task.spec}, its {what}")
    return names


def check_words(names: Sequence[str], where: str) -> None:
    """A TREC run's columns stand apart by blanks."""
    broken = [name for name in names if not name or name.split() != [name]]
    if broken:
        raise UserError(f"{where}: {len(broken):,} ids have blanks in them ({first_of(broken)})")
