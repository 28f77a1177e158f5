"""What every source reader shares: what it gives, where things stand, and how it refuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hybrid_dist.data.languages import canonical
from hybrid_dist.errors import UserError

PAIRS = pa.schema(
    [
        ("uid", pa.string()),
        ("lang", pa.string()),
        ("query", pa.string()),
        ("passage", pa.string()),
        ("negatives", pa.list_(pa.string())),
        ("place", pa.int64()),
    ]
)
"""Blocks of training pairs, as sources stream them; `Reading.where` reads a place."""

_LINES = 1 << 40


class Text(NamedTuple):
    """A query or a candidate passage."""

    id: str
    lang: str
    text: str


@dataclass(frozen=True)
class Collection:
    """What is evaluated: queries, candidate passages, and which passages answer which.

    Texts are told by (language, id); queries with one id say the same thing in several languages.
    """

    queries: Sequence[Text]
    passages: Sequence[Text]
    relevant_starts: np.ndarray
    """Query q is answered by the passages `relevant[relevant_starts[q] : ...[q + 1]]`."""
    relevant: np.ndarray
    """Positions in `passages`, ascending for every query."""
    grades: np.ndarray
    """Of each of those: how well it answers; 1 where the source knows only right and wrong."""
    one_pool: bool = True
    """Whether the passages of all languages may be searched together."""


@dataclass
class Reading:
    """One reading of a source: its options, its files, and the lines that were passed over."""

    skip_bad: int = 0
    """Bad lines to pass over before refusing."""
    options: Mapping[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    """What was wrong with the lines passed over, each with its place."""
    named: dict[str, str] = field(default_factory=dict)
    """Language codes of the source that go by another name here."""
    notes: list[str] = field(default_factory=list)
    """What the source itself leaves out, for people."""
    missing: list[str] = field(default_factory=list)
    """What judgements name and no file has, where `incomplete=allow` tolerates it."""

    def place(self, file: Path, line: int) -> int:
        """A number for a line of a file."""
        if file not in self.files:
            self.files.append(file)
        return self.files.index(file) * _LINES + line

    def where(self, place: int) -> str:
        """`file:line` of such a number."""
        return f"{self.files[place // _LINES]}:{place % _LINES}"

    def language(self, code: str) -> str:
        """The one name of a language; a ValueError says what is wrong with the code."""
        name = canonical(code)
        if name != code:
            self.named[code] = name
        return name

    def refuse(self, place: str, problem: str) -> None:
        """Pass over a bad line while that many are tolerated, else refuse to go on.

        What is told again, as some files are read twice, does not count again.
        """
        told = f"{place}: {problem}"
        if told in self.bad:
            return
        self.bad.append(told)
        if len(self.bad) > self.skip_bad:
            raise UserError("\n".join(self.bad[-3:]))
