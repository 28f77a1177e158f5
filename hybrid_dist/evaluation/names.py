"""External names of queries and passages: in TREC runs, and in the id files of vectors.

In a task of several languages ids are not unique, so a query is named `ID_LANGUAGE` and a passage
`LANGUAGE_ID`, as in LAReQA. In a task of one language names are the ids.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tasks import Task

SHOWN = 80
"""Characters of a name in messages."""


def query_names(task: Task) -> list[str]:
    """The external name of every query."""
    if len(task.languages) == 1:
        return list(task.query_ids)
    pairs = zip(task.query_ids, task.query_language.tolist(), strict=True)
    return _unique(task, "queries", [f"{name}_{task.languages[code]}" for name, code in pairs])


def passage_names(task: Task) -> list[str]:
    """The external name of every passage."""
    if len(task.languages) == 1:
        return list(task.passage_ids)
    pairs = zip(task.passage_ids, task.passage_language.tolist(), strict=True)
    return _unique(task, "passages", [f"{task.languages[code]}_{name}" for name, code in pairs])


def first_of(names: Iterable[str]) -> str:
    """`first: a, b, c`: the first three names, for messages."""
    shown = [name[:SHOWN] for _, name in zip(range(3), names, strict=False)]
    return f"first: {', '.join(shown)}"


def numbered(names: Sequence[str], where: str) -> dict[str, int]:
    """The position of each name; a UserError where a name occurs twice."""
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        repeated = [name for number, name in enumerate(names) if numbers[name] != number]
        raise UserError(
            f"{where}: {len(repeated):,} ids are repeated ({first_of(repeated)}); list each id once"
        )
    return numbers


def positions(
    expected: Sequence[str], given: Sequence[str], where: str, task: Task, codes: np.ndarray
) -> np.ndarray:
    """The position in `given` of each expected name; both must hold the same names.

    `codes` are the language codes of the expected names.
    """
    numbers = numbered(given, where)
    place = np.array([numbers.get(name, -1) for name in expected], dtype=np.int64)
    missing = np.flatnonzero(place < 0)
    if len(missing):
        examples = first_of(expected[row] for row in missing.tolist())
        raise UserError(
            f"{where}: {len(missing):,} of the {len(expected):,} ids of task {task.name} are "
            f"missing ({examples}{_missing_languages(task, codes, missing)}); the file begins with "
            f"{', '.join(name[:SHOWN] for name in given[:3]) or 'nothing'}"
        )
    if len(given) > len(expected):
        known = set(expected)
        unknown = [name for name in given if name not in known]
        raise UserError(
            f"{where}: {len(unknown):,} of its {len(given):,} ids are not in task {task.name} "
            f"({first_of(unknown)}); its ids look like {expected[0]}"
        )
    return place


def _missing_languages(task: Task, codes: np.ndarray, missing: np.ndarray) -> str:
    """`; all of de, fr`: the languages of which every id is missing, or an empty string."""
    absent = np.bincount(codes[missing], minlength=len(task.languages))
    present = np.bincount(codes, minlength=len(task.languages))
    gone = [task.languages[c] for c in np.flatnonzero((absent == present) & (present > 0))]
    return f"; all of {', '.join(gone)}" if gone else ""


def _unique(task: Task, what: str, names: list[str]) -> list[str]:
    numbered(names, f"task {task.spec}, its {what}")
    return names


def check_words(names: Sequence[str], where: str) -> None:
    """Refuse names with white space, which separates the columns of a TREC run."""
    broken = [name for name in names if not name or name.split() != [name]]
    if broken:
        raise UserError(f"{where}: {len(broken):,} ids contain white space ({first_of(broken)})")
