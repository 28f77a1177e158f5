"""SQuAD's JSON in several languages: XQuAD, MLQA, XOR-TyDi, translated SQuAD.

Paragraphs are retrieved. Queries that share an id are parallel, also across files.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading, Text, short
from hybrid_dist.data.sources.collecting import Answer, Answers, Pair, Placed, blocks, collect
from hybrid_dist.data.sources.lines import (
    BadRecord,
    key,
    line_problem,
    lines,
    nfc,
    records,
    stem,
    text,
)
from hybrid_dist.data.sources.paths import find
from hybrid_dist.data.sources.source import Source, check_languages, wanted_languages
from hybrid_dist.errors import UserError

NAMES = (
    r"\w+-context-(?P<lang>[\w-]+)-question-(?P<query_lang>[\w-]+)",  # MLQA
    r"mlqa\.(?P<lang>\w+)\.(?P<query_lang>\w+)",  # MLQA's folders on the hub
    r"squad\.translate\.\w+\.en-(?P<lang>[\w-]+)",  # XTREME's translations
    r"(?:.+\.)?(?!dev$)(?P<lang>[A-Za-z]{2,3}([-_]\w+)?)",  # xquad.ar, ar; a split is no language
)
"""How languages appear in the names of files or of their folders."""
EXPECTED = (
    "SQuAD's JSON in files named by language (ar.json, xquad.ar.json, "
    "dev-context-ar-question-de.json), or the hub's Parquet in folders so named"
)


class Query(NamedTuple):
    """A query, and where its answers start in the paragraph."""

    place: int
    id: str
    lang: str
    text: str
    starts: list[int]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph and the queries about it."""

    file: Path
    place: int
    name: str
    """Unique in the file."""
    lang: str
    context: str
    """As in the file, since offsets count in it."""
    queries: list[Query]
    record: Mapping[str, Any]


def paragraphs(paths: Sequence[str], reading: Reading) -> Iterator[Paragraph]:
    """All paragraphs of all files."""
    for file, _ in find(paths, r".*\.(json|parquet)", EXPECTED):
        lang, query_lang = _languages(file, reading)
        if file.suffix == ".parquet":
            for _, paragraph in records(reading, file, _Rows(reading, file, lang, query_lang)):
                yield paragraph
        else:
            yield from _Document(reading, file, lang, query_lang).paragraphs()


def _languages(file: Path, reading: Reading) -> tuple[str, str]:
    """The languages of a file's paragraphs and of its queries."""
    name = file.parent.name if file.suffix == ".parquet" else stem(file)
    name = reading.options.get("language", name)
    wrong = ""
    for pattern in NAMES:
        if match := re.fullmatch(pattern, name):
            try:
                lang = reading.language(match["lang"])
                return lang, reading.language(match.groupdict().get("query_lang") or lang)
            except ValueError as error:
                wrong = wrong or f" ({error})"
    raise UserError(
        f"{file}: its name tells no language{wrong}; name it as in xquad.ar.json, or give the "
        "option language"
    )


class _Rows:
    """Parses rows of a Parquet file: a query and its paragraph each."""

    def __init__(self, reading: Reading, file: Path, lang: str, query_lang: str) -> None:
        self.first, self.file, self.lang, self.query_lang = (
            reading.place(file, 0),
            file,
            lang,
            query_lang,
        )
        self.number = 0

    def __call__(self, record: Mapping[str, Any]) -> Paragraph:
        self.number += 1
        place = self.first + self.number
        answers = record.get("answers")
        starts = answers.get("answer_start") if isinstance(answers, dict) else None
        if not isinstance(starts, list) or not all(type(start) is int for start in starts):
            raise BadRecord("expected answers with a list answer_start of whole numbers")
        query = Query(place, key(record, "id"), self.query_lang, text(record, "question"), starts)
        text(record, "context")
        name, context = f"row {self.number}", record["context"]
        return Paragraph(self.file, place, name, self.lang, context, [query], record)


class _Document:
    """One JSON file. Line numbers come from searching for ids, as parsed JSON has no positions."""

    def __init__(self, reading: Reading, file: Path, lang: str, query_lang: str) -> None:
        self.reading, self.file, self.lang, self.query_lang = reading, file, lang, query_lang
        self.first = reading.place(file, 0)
        self.source = "\n".join(line for _, line in lines(reading, file))
        self.position, self.line = 0, 1

    def paragraphs(self) -> Iterator[Paragraph]:
        try:
            articles = _items(json.loads(self.source), "data")
        except BadRecord as error:
            raise UserError(f"{self.file}:1: {error}, as SQuAD's files have") from None
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
            raise UserError(
                f"{self.file}:{line}: not JSON ({line_problem(error)}); copy the file again"
            ) from None
        for number, article in enumerate(articles):
            try:
                given = _items(article, "paragraphs")
            except BadRecord as error:
                self._refuse(f"article {number + 1}: {error}")
                continue
            for part, record in enumerate(given):
                try:
                    yield self._paragraph(record, f"{number:03d}.{part:03d}")
                except BadRecord as error:
                    self._refuse(f"article {number + 1}, paragraph {part + 1}: {error}")

    def _paragraph(self, record: Any, name: str) -> Paragraph:
        queries = []
        for given in _items(record, "qas"):
            try:
                queries.append(self._query(given))
            except BadRecord as error:
                self._refuse(str(error))
        text(record, "context")
        place = queries[0].place if queries else self.first + self.line
        context = record["context"]
        return Paragraph(self.file, place, name, self.lang, context, queries, record)

    def _query(self, record: Any) -> Query:
        if not isinstance(record, dict):
            raise BadRecord(
                f"expected an object with id, question and answers, found {short(record)}"
            )
        name = key(record, "id")
        self._advance_to(json.dumps(record["id"]))
        starts = []
        for answer in _items(record, "answers"):
            start = answer.get("answer_start") if isinstance(answer, dict) else None
            if type(start) is not int:
                raise BadRecord(f"query {name}: expected a whole number as 'answer_start'")
            starts.append(start)
        lang = self.query_lang if record.get("lang") is None else self._own_language(record, name)
        return Query(self.first + self.line, name, lang, text(record, "question"), starts)

    def _own_language(self, record: Mapping[str, Any], name: str) -> str:
        """The language of a query that names its own, as in XOR-TyDi."""
        try:
            return self.reading.language(text(record, "lang"))
        except ValueError as error:
            raise BadRecord(f"query {name}, lang: {error}") from None

    def _advance_to(self, written: str) -> None:
        """Move on to the line of an id."""
        offset = self.source.find(written, self.position)
        if offset >= 0:
            self.line += self.source.count("\n", self.position, offset)
            self.position = offset

    def _refuse(self, problem: str) -> None:
        self.reading.refuse(f"{self.file}:{self.line}", problem)


def _items(record: Any, name: str) -> list[Any]:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, list):
        raise BadRecord(f"expected a list as {name!r}")
    return value


def answered(paragraph: Paragraph, reading: Reading) -> list[Query]:
    """The queries with an answer; SQuAD 2.0 has queries without one."""
    kept = [query for query in paragraph.queries if query.starts]
    if len(kept) < len(paragraph.queries):
        note = f"{paragraph.file}: queries without an answer are left out"
        if note not in reading.notes:
            reading.notes.append(note)
    return kept


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every query with its paragraph, if both are in one language."""
    return blocks(
        Pair(query.id, paragraph.lang, query.text, nfc(paragraph.context), [], query.place)
        for paragraph in _chosen(paths, reading)
        for query in answered(paragraph, reading)
        if query.lang == paragraph.lang
    )


def _chosen(paths: Sequence[str], reading: Reading) -> Iterator[Paragraph]:
    """The paragraphs and queries in the languages of the option; all, without it.

    A paragraph is named by its first query, chosen or not: its own name is unique in a file only.
    """
    only, there = wanted_languages(reading), set()
    for paragraph in paragraphs(paths, reading):
        queries = paragraph.queries
        there |= {paragraph.lang, *(query.lang for query in queries)}
        if only is None or paragraph.lang in only:
            chosen = [query for query in queries if only is None or query.lang in only]
            name = queries[0].id if queries else paragraph.name
            yield replace(paragraph, name=name, queries=chosen)
    check_languages(reading, there, ", ".join(paths))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """The distinct paragraphs of a language are its passages."""
    names: dict[tuple[str, str], str] = {}
    queries: list[Placed] = []
    passages: list[Placed] = []
    answers: Answers = {}
    for paragraph in _chosen(paths, reading):
        context = nfc(paragraph.context)
        if (paragraph.lang, context) not in names:
            names[paragraph.lang, context] = paragraph.name
            passages.append((paragraph.place, Text(paragraph.name, paragraph.lang, context)))
        here = paragraph.lang, names[paragraph.lang, context]
        for query in answered(paragraph, reading):
            queries.append((query.place, Text(query.id, query.lang, query.text)))
            answers.setdefault(query.id, {})[here] = Answer(1, query.place)
    return collect(reading, queries, passages, answers)


SOURCE = Source(
    "squad",
    "SQuAD's JSON by language: XQuAD, MLQA, XOR-TyDi, translated SQuAD; paragraphs are retrieved",
    "xquad.ar.json, ...: data[].paragraphs[]: context, qas[id, question, answers, and lang where "
    "queries differ]; the hub's Parquet",
    pairs,
    collection,
    {
        "language": "the language of files whose names do not tell one",
        "languages": "read paragraphs and queries in these only, as in languages=ar,de",
    },
)
