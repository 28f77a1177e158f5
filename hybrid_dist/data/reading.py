"""What all source readers share: their results, places in files, and how bad lines are reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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
"""Blocks of training pairs as sources stream them; `Reading.where` turns a place into text."""

SCORED_PAIRS = pa.schema(
    [*PAIRS, ("positive_score", pa.float32()), ("negative_scores", pa.list_(pa.float32()))]
)
"""The same with scores of the passage and the negatives; all blocks of a source have one schema."""

_LINES = 1 << 40


class Text(NamedTuple):
    """A query or a candidate passage."""

    id: str
    lang: str
    text: str


@dataclass(frozen=True)
class Subset:
    """Part of an evaluation set that is published, and scored, on its own."""

    name: str
    split: str
    query_lang: str
    passage_lang: str
    prefix: str = ""
    """What ids of its queries begin with, where other subsets have queries of the same ids."""
    unanswered: int = 0
    """Judged queries without a relevant passage; they are not in the collection."""
    revision: str = ""
    """Of the data set, if it is known."""


@dataclass(frozen=True)
class Collection:
    """An evaluation set: queries, candidate passages, and the relevance judgements.

    (language, id) identifies a text; queries that share an id are translations of each other.
    """

    queries: Sequence[Text]
    passages: Sequence[Text]
    relevant_starts: np.ndarray
    """Query q has the relevant passages `relevant[relevant_starts[q] : relevant_starts[q + 1]]`."""
    relevant: np.ndarray
    """Positions in `passages`, ascending for every query."""
    grades: np.ndarray
    """The relevance grade of each; 1 if the source has binary judgements."""
    one_pool: bool = True
    """Whether the passages of all languages may be searched together."""
    subsets: tuple[Subset, ...] = ()
    """What it is made of, if it is published in subsets."""
    excluded: np.ndarray | None = None
    """[queries]: the position of the passage that is not searched for each query, or -1."""


@dataclass
class Reading:
    """One pass over a source: its options, its files, and the bad lines that were skipped."""

    skip_bad: int = 0
    """How many bad lines may be skipped."""
    options: Mapping[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    """The problems of the skipped lines, each with its place."""
    named: dict[str, str] = field(default_factory=dict)
    """Language codes of the source and the names they have here, where these differ."""
    notes: list[str] = field(default_factory=list)
    """What the source leaves out, for the user to read."""
    missing: list[str] = field(default_factory=list)
    """Judged ids that no file contains, if `incomplete=allow` permits them."""
    mapping: dict[str, Any] = field(default_factory=dict)
    """How the columns of a table were read, if the source maps them."""
    links: Path | None = None
    """The file of links that made the uids, if there is one."""

    _numbers: dict[Path, int] = field(default_factory=dict, init=False, repr=False)
    _refused: set[str] = field(default_factory=set, init=False, repr=False)

    def place(self, file: Path, line: int) -> int:
        """An integer that stands for a line of a file."""
        if file not in self._numbers:
            self._numbers[file] = len(self.files)
            self.files.append(file)
        return self._numbers[file] * _LINES + line

    def where(self, place: int) -> str:
        """`file:line` of a place."""
        return f"{self.files[place // _LINES]}:{place % _LINES}"

    def language(self, code: str) -> str:
        """The canonical name of a language; a ValueError says what is wrong with the code."""
        name = canonical(code)
        if name != code:
            self.named[code] = name
        return name

    def refuse(self, place: str, problem: str) -> None:
        """Skip a bad line, or raise a UserError if more than `skip_bad` lines are bad.

        Some files are read twice: a line that is reported again is not counted again.
        """
        message = f"{place}: {problem}"
        if message in self._refused:
            return
        self._refused.add(message)
        self.bad.append(message)
        if len(self.bad) > self.skip_bad:
            raise UserError("\n".join(self.bad[-3:]))


def short(value: object) -> str:
    """A value as messages show it: its repr, cut to 80 characters."""
    try:
        shown = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} nested too deeply"
    return shown if len(shown) <= 80 else f"{shown[:76]} ..."
