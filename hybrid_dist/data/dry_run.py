"""What a preparation would do: the pairs as they are understood, and what would be left out."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from hybrid_dist.data.changes import NO_CHANGES, Changes
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.store import space
from hybrid_dist.data.store.builder import NoPairsError
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError

EXAMPLES = 10
MOST_BAD = 100_000
"""Bad rows after which a dry run ends."""
PLACE = re.compile(r"^.*?:\d+: ")
VALUES = (
    (re.compile(r"(,? found| than at) .*$", re.DOTALL), ""),
    (re.compile(r"^uid '.*?'"), "a uid"),
    (re.compile(r": '.*?' is "), ": the value is "),
)
"""What differs between rows with the same problem."""


@dataclass(frozen=True)
class Reason:
    """Why rows would be refused."""

    what: str
    rows: int
    example: str
    """The first of them, with its place."""


@dataclass(frozen=True)
class DryRun:
    """What would become of a source's rows."""

    languages: Mapping[str, Mapping[str, int]]
    """By language: the numbers of pairs and of distinct passages."""
    reasons: Sequence[Reason]
    notes: Sequence[str]


def try_out(
    source: Source,
    paths: Sequence[str],
    options: Mapping[str, str],
    show: Callable[[str, Mapping[str, Any]], None],
    changes: Changes = NO_CHANGES,
) -> DryRun:
    """Read a source as `prepare` does, and build its store in a temporary folder.

    `show` gets the first pairs, each with its place, while the others are still to be read.
    """
    if source.pairs is None:
        raise UserError(f"{source.name}: has no training pairs")
    source.check(options)
    reading = Reading(skip_bad=MOST_BAD, options=options)

    def shown(blocks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        left = EXAMPLES
        for block in blocks:
            for row in block.slice(0, left).to_pylist():
                show(reading.where(row["place"]), row)
            left -= min(left, len(block))
            yield block

    try:
        needed = space.estimate_bytes(paths)
        pairs = changes.made_to(shown(source.pairs(paths, reading)), reading, needed)
        store = Store.build(pairs, reading=reading, needed=needed)
        languages = store.manifest["languages"]
    except NoPairsError:
        languages = {}
    return DryRun(languages, _reasons(reading.bad), reading.notes)


def _reasons(bad: Sequence[str]) -> list[Reason]:
    """The problems of bad rows, those with the most rows first."""
    first: dict[str, str] = {}
    counts = Counter[str]()
    for message in bad:
        what = PLACE.sub("", message)
        for pattern, instead in VALUES:
            what = pattern.sub(instead, what)
        first.setdefault(what, message)
        counts[what] += 1
    return [Reason(what, rows, first[what]) for what, rows in counts.most_common()]
