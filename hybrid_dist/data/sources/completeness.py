"""Checks that all judged queries and passages exist: a truncated file would be another test set.

Missing ids are refused with their counts, unless `incomplete=allow` is given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.collecting import Answer
from hybrid_dist.errors import UserError

INCOMPLETE = "incomplete"
ALLOW = "allow"
MEANING = f"{ALLOW}, to go on without judged queries and passages that are missing"
SHOWN = 3
LETTERS = 80
"""How much of an id messages show."""


@dataclass(frozen=True)
class Missing:
    """Ids of one language that one file refers to and another lacks."""

    where: str
    """The file that refers to them, with the line of the first if it is known."""
    what: str
    """As in `judged queries`."""
    lang: str
    ids: Sequence[str]
    named: int
    """How many ids the file refers to, missing or not."""
    holder: str
    """The file that lacks them."""

    def __str__(self) -> str:
        first = ", ".join(name[:LETTERS] for name in self.ids[:SHOWN])
        return (
            f"{self.where}: {len(self.ids):,} of {self.named:,} {self.what} in {self.lang} are not "
            f"in {self.holder} (first: {first})"
        )


def check_option(source: str, value: str) -> None:
    """Refuse any value of the option other than `allow`."""
    if value != ALLOW:
        raise UserError(
            f"{source}: option {INCOMPLETE}={value}: give {INCOMPLETE}={ALLOW}, or leave it out"
        )


def is_allowed(reading: Reading) -> bool:
    return reading.options.get(INCOMPLETE) == ALLOW


def check_complete(reading: Reading, all_missing: Iterable[Missing], first: str = "") -> None:
    """Refuse a data set in which ids are missing; if that is allowed, note how many.

    `first`: what to look at before copying files again.
    """
    messages = list(dict.fromkeys(str(missing) for missing in all_missing))
    if messages and not is_allowed(reading):
        cure = (
            f"{first}a file was cut short or not fetched: copy it again, or give the option "
            f"{INCOMPLETE}={ALLOW} to go on with what is there"
        )
        raise UserError("\n".join([*messages, cure]))
    reading.missing += messages
    reading.notes += messages


def judged_gaps(
    reading: Reading,
    judged: Mapping[str, Mapping[str, Answer]],
    has_query: Callable[[str], bool],
    has_document: Callable[[str], bool],
    langs: tuple[str, str] = ("any language", "any language"),
) -> Iterator[Missing]:
    """Queries with a relevant document, and judged documents, that no file has.

    `langs`: of queries and of documents.
    """
    queries: dict[str, int] = {}
    documents: dict[str, int] = {}
    for query, answers in judged.items():
        for document, answer in answers.items():
            documents.setdefault(document, answer.place)
            if answer.grade > 0:
                queries.setdefault(query, answer.place)
    for what, places, has, lang, holder in (
        ("judged queries", queries, has_query, langs[0], "the queries"),
        ("judged passages", documents, has_document, langs[1], "the corpus"),
    ):
        gone = [name for name in places if not has(name)]
        if gone:
            where = reading.where(places[gone[0]])
            yield Missing(where, what, lang, gone, len(places), holder)
