"""From the contents of a source's files to blocks of pairs and to evaluation collections."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hybrid_dist.data.reading import PAIRS, SCORED_PAIRS, Collection, Reading, Text
from hybrid_dist.data.text_sequence import Texts

BLOCK = 2048
Key = tuple[str, str]
"""A language and an id in it."""
Placed = tuple[int, Text]
"""A place and the text there."""


class Pair(NamedTuple):
    """A training pair: the columns of `reading.PAIRS`."""

    uid: str
    lang: str
    query: str
    passage: str
    negatives: list[str]
    place: int


class ScoredPair(NamedTuple):
    """A training pair with scores: the columns of `reading.SCORED_PAIRS`."""

    uid: str
    lang: str
    query: str
    passage: str
    negatives: list[str]
    place: int
    positive_score: float
    negative_scores: list[float]


class Answer(NamedTuple):
    """The relevance grade of a passage, and the place of the judgement."""

    grade: int
    place: int


Answers = dict[str, dict[Key, Answer]]
"""By query id: its relevant passages in all languages."""
Searched = Callable[[str, str], bool]
"""Whether queries in one language are searched for in the pool of another."""


def blocks(pairs: Iterable[Pair | ScoredPair]) -> Iterator[pa.RecordBatch]:
    """Pairs in blocks of the schema that sources stream; all of them are scored, or none."""
    given = iter(pairs)
    while block := list(islice(given, BLOCK)):
        schema = SCORED_PAIRS if isinstance(block[0], ScoredPair) else PAIRS
        columns = zip(schema, zip(*block, strict=True), strict=True)
        arrays = [pa.array(values, column.type) for column, values in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def collect(
    reading: Reading,
    queries: Iterable[Placed],
    passages: Iterable[Placed],
    answers: Mapping[str, Mapping[Key, Answer]],
    one_pool: bool = True,
    wanted: dict[Key, int] | None = None,
    searched: Searched | None = None,
) -> Collection:
    """The collection of all passages and of the queries with a relevant one.

    `wanted`: further passages to look for; each one's value becomes its number, or stays -1.
    `searched`: which pools the queries of a language have answers in; all, unless it is given.
    """
    wanted = {} if wanted is None else wanted
    wanted |= {key: -1 for keys in answers.values() for key in keys}
    passage_check = _DuplicateCheck(reading, "passage")
    passage_texts = Texts.of(passage_check.watch(passages, wanted))
    rows = passage_check.distinct_rows(passage_texts)
    passage_texts = passage_texts.take(rows)
    number = np.full(len(passage_check.keys), -1)
    number[rows] = np.arange(len(rows))
    graded = {
        query: sorted((int(number[wanted[k]]), a.grade) for k, a in some.items() if wanted[k] >= 0)
        for query, some in answers.items()
    }
    right = _in_pools(graded, passage_texts, searched)
    query_check = _DuplicateCheck(reading, "query")
    answered = (placed for placed in queries if right(placed[1].id, placed[1].lang))
    query_texts = Texts.of(query_check.watch(answered))
    query_texts = query_texts.take(query_check.distinct_rows(query_texts))
    starts, relevant, grades = [0], array("q"), array("q")
    names = (query_texts.column(name).to_pylist() for name in ("id", "lang"))
    for query, lang in zip(*names, strict=True):
        found = right(query, lang)
        relevant.extend(passage for passage, _ in found)
        grades.extend(grade for _, grade in found)
        starts.append(len(relevant))
    return Collection(
        queries=query_texts,
        passages=passage_texts,
        relevant_starts=np.array(starts),
        relevant=np.array(relevant, dtype=np.int64),
        grades=np.array(grades, dtype=np.int64),
        one_pool=one_pool,
    )


def _in_pools(
    graded: Mapping[str, list[tuple[int, int]]], passages: Texts, searched: Searched | None
) -> Callable[[str, str], list[tuple[int, int]]]:
    """Returns a lookup of a query's relevant passages and their grades, by its id and language."""
    if searched is None:
        return lambda query, lang: graded.get(query, [])
    languages = passages.column("lang").to_pylist()
    known = set(languages)

    @cache
    def pools(lang: str) -> frozenset[str]:
        return frozenset(pool for pool in known if searched(lang, pool))

    def right(query: str, lang: str) -> list[tuple[int, int]]:
        among = pools(lang)
        return [pair for pair in graded.get(query, []) if languages[pair[0]] in among]

    return right


@dataclass
class _DuplicateCheck:
    """Detects ids that a stream of texts repeats; it keeps 24 bytes a text."""

    reading: Reading
    what: str
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))

    def watch(
        self, placed: Iterable[Placed], wanted: dict[Key, int] | None = None
    ) -> Iterator[Text]:
        """The texts, unchanged; each of `wanted` gets the number of its first occurrence."""
        for place, text in placed:
            key = (text.lang, text.id)
            if wanted is not None and wanted.get(key) == -1:
                wanted[key] = len(self.keys)
            self.keys.append(hash(key))
            self.hashes.append(hash(text.text))
            self.places.append(place)
            yield text

    def distinct_rows(self, texts: Texts) -> np.ndarray:
        """Rows of `texts` without repetitions; one id with two texts is refused."""
        keys, hashes = np.array(self.keys, np.int64), np.array(self.hashes, np.int64)
        order = np.argsort(keys, kind="stable")
        again = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
        first = np.arange(len(order))
        first[again] = 0
        first = np.maximum.accumulate(first)
        for row in again[hashes[order[again]] != hashes[order[first[again]]]].tolist():
            other, before = (self.reading.where(self.places[order[r]]) for r in (row, first[row]))
            text = texts[int(order[row])]
            self.reading.refuse(
                other,
                f"{self.what} {text.id!r} has other text in {text.lang!r} than at {before}; "
                "give it an id of its own",
            )
        return np.delete(np.arange(len(order)), order[again])
