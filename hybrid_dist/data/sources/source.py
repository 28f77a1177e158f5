"""What a source of pairs and evaluation data is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.errors import UserError, nearest


@dataclass(frozen=True)
class Source:
    """One published layout, read from folders, files or the hub."""

    name: str
    summary: str
    pairs: Callable[[Sequence[str], Reading], Iterator[pa.RecordBatch]] | None = None
    """Streams training pairs in blocks of the schema `reading.PAIRS`."""
    collection: Callable[[Sequence[str], Reading], Collection] | None = None
    """Reads questions, passages and right answers to evaluate on."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What each option means."""

    def check(self, options: Mapping[str, str]) -> None:
        """Refuse an option that the source does not have."""
        for name in options:
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise UserError(
                    f"{self.name}: unknown option {name!r}{nearest(name, self.options)} "
                    f"(known: {known})"
                )


def language_of(reading: Reading, code: str, file: Path) -> str:
    """The language that a file or a folder is named after."""
    try:
        return reading.language(code)
    except ValueError as error:
        raise UserError(f"{file}: {error}; its name tells the language") from None


def wanted_languages(reading: Reading) -> set[str] | None:
    """The languages of the option `languages`; None: all."""
    given = reading.options.get("languages")
    try:
        return None if given is None else {reading.language(code) for code in given.split(",")}
    except ValueError as error:
        raise UserError(f"option languages={given}: {error}") from None
