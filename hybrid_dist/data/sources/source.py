"""The interface of a source of pairs and evaluation data."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources.completeness import INCOMPLETE, MEANING, check_option
from hybrid_dist.data.sources.paths import local
from hybrid_dist.errors import UserError, nearest


@dataclass(frozen=True)
class Source:
    """One published layout, read from folders, files or the hub."""

    name: str
    summary: str
    columns: str
    """The files or columns that it reads, for people to compare with theirs."""
    pairs: Callable[[Sequence[str], Reading], Iterator[pa.RecordBatch]] | None = None
    """Streams training pairs in blocks of the schema `reading.PAIRS` or `reading.SCORED_PAIRS`."""
    collection: Callable[[Sequence[str], Reading], Collection] | None = None
    """Reads queries, passages and relevance judgements to evaluate on."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What each option means."""
    locate: Callable[[str], object] = local
    """Raises a UserError unless a path names data; data on the hub is downloaded."""
    has_globs: bool = False
    """Whether paths may be globs, in which `?` stands for one character."""
    evaluates_on_pairs: bool = False
    """Whether the collection is made of the training pairs: its counts would say nothing new."""

    @property
    def all_options(self) -> Mapping[str, str]:
        """The source's own options, and those of every source that can be evaluated on."""
        return {**self.options, **(COMMON if self.collection is not None else {})}

    def check(self, options: Mapping[str, str], beside: Sequence[str] = ()) -> None:
        """Refuse an option that the source does not have. `beside`: others that are handled."""
        known = [*self.all_options, *beside]
        for name in options:
            if name not in known:
                raise UserError(
                    f"{self.name}: unknown option {name!r}{nearest(name, known)} "
                    f"(known: {', '.join(known) or 'none'})"
                )
        if INCOMPLETE in options:
            check_option(self.name, options[INCOMPLETE])


COMMON = {INCOMPLETE: MEANING}
"""Options of every source that can be evaluated on."""


def yes_or_no(reading: Reading, option: str) -> bool | None:
    """An option that is yes or no; None if it is not given."""
    given = reading.options.get(option)
    if given not in (None, "yes", "no"):
        raise UserError(f"option {option}={given}: give yes or no")
    return None if given is None else given == "yes"


def language_of(reading: Reading, code: str, file: Path) -> str:
    """The language in the name of a file or folder."""
    try:
        return reading.language(code)
    except ValueError as error:
        raise UserError(f"{file}: {error}; its name tells the language") from None


def wanted_languages(reading: Reading) -> set[str] | None:
    """The languages of the option `languages`; None means all."""
    given = reading.options.get("languages")
    try:
        return None if given is None else {reading.language(code) for code in given.split(",")}
    except ValueError as error:
        raise UserError(f"option languages={given}: {error}") from None


def check_languages(reading: Reading, there: Iterable[str], where: str) -> None:
    """Refuse languages of the option `languages` that a data set lacks."""
    known = sorted(set(there))
    absent = sorted((wanted_languages(reading) or set()) - set(known))
    if absent:
        raise UserError(
            f"option languages={reading.options['languages']}: {where} has no "
            f"{', '.join(absent)}; its languages are {', '.join(known) or 'none'}"
        )


def note_unjudged(
    reading: Reading, query_langs: Iterable[str], judged: Iterable[str], what: str
) -> None:
    """Note languages with queries but no judgements: they are not evaluated on."""
    only = wanted_languages(reading)
    left = sorted(lang for lang in set(query_langs) - set(judged) if only is None or lang in only)
    if left:
        reading.notes.append(f"{', '.join(left)}: there are queries, but no {what}")
