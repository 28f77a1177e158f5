"""Whether all that the judgements name is there: a shortened file makes another test set.

Ids that are named and missing are refused with their counts, unless `incomplete=allow` is given.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hybrid_dist.data.reading import Reading
from hybrid_dist.errors import UserError

INCOMPLETE = "incomplete"
ALLOW = "allow"
MEANING = f"{ALLOW}, to go on without judged queries and passages that are missing"
SHOWN = 3
LETTERS = 80
"""Of an id, in messages."""


@dataclass(frozen=True)
class Missing:
    """Ids of one language that a file names, and that are not where they should be."""

    where: str
    """The file that names them, with the line of the first where it is known."""
    what: str
    """As in `judged queries`."""
    lang: str
    ids: Sequence[str]
    named: int
    """How many ids the file names."""
    holder: str
    """Where they should be."""

    def __str__(self) -> str:
        first = ", ".join(name[:LETTERS] for name in self.ids[:SHOWN])
        return (
            f"{self.where}: {len(self.ids):,} of {self.named:,} {self.what} in {self.lang} are not "
            f"in {self.holder} (first: {first})"
        )


def check_option(source: str, value: str) -> None:
    """Refuse any value of the option but the one that it has."""
    if value != ALLOW:
        raise UserError(
            f"{source}: option {INCOMPLETE}={value}: give {INCOMPLETE}={ALLOW}, or leave it out"
        )


def is_allowed(reading: Reading) -> bool:
    return reading.options.get(INCOMPLETE) == ALLOW


def check_complete(reading: Reading, all_missing: Iterable[Missing]) -> None:
    """Refuse a data set in which ids are missing; where that is allowed, note how many."""
    told = [str(missing) for missing in all_missing]
    if told and not is_allowed(reading):
        cure = (
            "a file was cut short or not fetched: copy it again, or give the option "
            f"{INCOMPLETE}={ALLOW} to go on with what is there"
        )
        raise UserError("\n".join([*told, cure]))
    reading.missing += told
    reading.notes += told
