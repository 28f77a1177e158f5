"""From what a source's files say to blocks of pairs, and to a collection to evaluate on."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hybrid_dist.data.reading import PAIRS, Collection, Reading, Text
from hybrid_dist.data.texts import Texts

BLOCK = 2048
Key = tuple[str, str]
"""A language and an id in it."""
Placed = tuple[int, Text]
"""A text and its place."""


class Pair(NamedTuple):
    """A training pair: the columns of `reading.PAIRS`."""

    uid: str
    lang: str
    query: str
    passage: str
    negatives: list[str]
    place: int


class Answer(NamedTuple):
    """How well a passage answers, and where that is said."""

    grade: int
    place: int


Answers = dict[str, dict[Key, Answer]]
"""Of each query id: its right passages, in all languages."""


def blocks(pairs: Iterable[Pair]) -> Iterator[pa.RecordBatch]:
    """Pairs in blocks of the schema that sources stream."""
    given = iter(pairs)
    while block := list(islice(given, BLOCK)):
        columns = zip(PAIRS, zip(*block, strict=True), strict=True)
        arrays = [pa.array(values, column.type) for column, values in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=PAIRS)


def collect(
    reading: Reading,
    queries: Iterable[Placed],
    passages: Iterable[Placed],
    answers: Mapping[str, Mapping[Key, Answer]],
    one_pool: bool = True,
    wanted: dict[Key, int] | None = None,
) -> Collection:
    """The queries that have an answer, all passages, and which answers which.

    `wanted`: passages to look for beside the answers; those that come get their number there.
    """
    wanted = {} if wanted is None else wanted
    wanted |= {key: -1 for right in answers.values() for key in right}
    told = _Kept(reading, "passage")
    telling = Texts.of(told.keep(passages, wanted))
    rows = told.rows(telling)
    telling = telling.take(rows)
    number = np.full(len(told.keys), -1)
    number[rows] = np.arange(len(rows))
    right = {
        query: sorted((int(number[wanted[k]]), a.grade) for k, a in some.items() if wanted[k] >= 0)
        for query, some in answers.items()
    }
    asked = _Kept(reading, "query")
    asking = Texts.of(asked.keep(placed for placed in queries if right.get(placed[1].id)))
    asking = asking.take(asked.rows(asking))
    starts, relevant, grades = [0], array("q"), array("q")
    for query in asking.column("id").to_pylist():
        relevant.extend(passage for passage, _ in right[query])
        grades.extend(grade for _, grade in right[query])
        starts.append(len(relevant))
    return Collection(
        queries=asking,
        passages=telling,
        relevant_starts=np.array(starts),
        relevant=np.array(relevant, dtype=np.int64),
        grades=np.array(grades, dtype=np.int64),
        one_pool=one_pool,
    )


@dataclass
class _Kept:
    """What was kept of a stream of texts, in 24 bytes a text: one id twice has to be found."""

    reading: Reading
    what: str
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    texts: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))

    def keep(self, given: Iterable[Placed], wanted: dict[Key, int] | None = None) -> Iterator[Text]:
        """The texts; those that are wanted get their number, the first time that they come."""
        for place, text in given:
            key = (text.lang, text.id)
            if wanted is not None and wanted.get(key) == -1:
                wanted[key] = len(self.keys)
            self.keys.append(hash(key))
            self.texts.append(hash(text.text))
            self.places.append(place)
            yield text

    def rows(self, kept: Texts) -> np.ndarray:
        """The numbers of the texts, without those that come again. Other text is refused."""
        keys, texts = np.array(self.keys, np.int64), np.array(self.texts, np.int64)
        order = np.argsort(keys, kind="stable")
        again = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
        first = np.arange(len(order))
        first[again] = 0
        first = np.maximum.accumulate(first)
        for row in again[texts[order[again]] != texts[order[first[again]]]].tolist():
            other, before = (self.reading.where(self.places[order[r]]) for r in (row, first[row]))
            told = kept[int(order[row])]
            self.reading.refuse(
                other,
                f"{self.what} {told.id!r} has other text in {told.lang!r} than at {before}; "
                "give it an id of its own",
            )
        return np.delete(np.arange(len(order)), order[again])
