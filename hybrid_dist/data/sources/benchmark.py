"""A benchmark in one YAML file: queries, corpus and qrels from tables of any columns."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from hybrid_dist.data.blocks import path_exists
from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources import judged
from hybrid_dist.data.sources.benchmark_file import (
    Benchmark,
    Language,
    QrelsTable,
    Rows,
    TextTable,
    read_benchmark,
)
from hybrid_dist.data.sources.collecting import Answers, Key, Placed, collect
from hybrid_dist.data.sources.completeness import Missing, check_complete
from hybrid_dist.data.sources.judged import Judgements
from hybrid_dist.data.sources.lines import BadRecord, Record
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.tables.column_texts import Template, expand
from hybrid_dist.data.tables.mapped_rows import NamedColumns, mapped_rows, row_language
from hybrid_dist.data.tables.table_files import expand as expand_globs
from hybrid_dist.data.tables.table_files import find_tables
from hybrid_dist.errors import UserError


def locate(path: str) -> object:
    """The files of all tables; data on the hub is downloaded."""
    benchmark = _read(path)
    return [place for rows in benchmark.rows for place in expand_globs(rows.paths)]


def _read(path: str) -> Benchmark:
    if not path_exists(path) or not Path(path).is_file():
        raise UserError(f"{path}: no such file; name a YAML file with queries, corpus and qrels")
    return read_benchmark(Path(path))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """All passages, and the queries with a relevant one.

    Where qrels have no language, a judgement holds for a query and a passage in all languages.
    """
    benchmark = _read(paths[0])
    judged_by_language = benchmark.qrels[0].query_lang is not None
    where = ", ".join(place for table in benchmark.qrels for place in table.rows.paths)
    judgements = judged.judgements(reading, _judgements(reading, benchmark), where)
    holders = {} if judged_by_language else _holders(reading, benchmark, judgements)
    answers: Answers = {}
    keys: dict[str, list[Key]] = {}
    for query, documents in judgements.items():
        for document, answer in documents.items():
            of = [_key(document)] if judged_by_language else holders.get(document, [])
            keys[document] = of
            if answer.grade > 0:
                answers.setdefault(query, {}).update(dict.fromkeys(of, answer))
    wanted = {key: -1 for of in keys.values() for key in of}
    seen: set[str] = set()

    def queries() -> Iterator[Placed]:
        for place, (name, lang, text) in _texts(reading, benchmark.queries):
            uid = f"{lang}:{name}" if judged_by_language else name
            seen.add(uid)
            yield place, Text(uid, lang, text)

    passages = _texts(reading, benchmark.corpus)
    result = collect(reading, queries(), passages, answers, wanted=wanted)
    lost = [name for name, of in keys.items() if not any(wanted[key] >= 0 for key in of)]
    check_complete(reading, _gaps(reading, judgements, seen, lost))
    return result


def _judgements(
    reading: Reading, benchmark: Benchmark
) -> Iterator[tuple[int, tuple[str, str, int]]]:
    """The ids of queries and passages, with their language where qrels have it, and grades."""
    for table in benchmark.qrels:
        columns = {
            "query": table.query,
            "passage": table.passage,
            "grade": table.grade,
            "lang_column": table.query_lang,
            "passage_lang_column": table.passage_lang,
        }
        for place, record in _records(reading, table.rows, table.rows.named(columns)):
            try:
                elements = expand(record, [table.query, table.passage])
                for row in [record] if elements is None else elements:
                    yield place, _judgement(reading, table, row)
            except BadRecord as problem:
                reading.refuse(reading.where(place), str(problem))


def _judgement(reading: Reading, table: QrelsTable, row: Record) -> tuple[str, str, int]:
    query, passage = table.query.key(row), table.passage.key(row)
    if table.query_lang is not None and table.passage_lang is not None:
        query = f"{row_language(reading, table.query_lang, row)}:{query}"
        passage = f"{row_language(reading, table.passage_lang, row)}:{passage}"
    return query, passage, _grade(table, row)


def _grade(table: QrelsTable, row: Record) -> int:
    return 1 if table.grade is None else judged.grade(table.grade.value(row), table.grade.name)


def _key(name: str) -> Key:
    """The language and the id in `de:17`."""
    lang, _, id_ = name.partition(":")
    return lang, id_


def _holders(
    reading: Reading, benchmark: Benchmark, judgements: Judgements
) -> Mapping[str, list[Key]]:
    """By the id of a judged passage, its keys in all languages that have it."""
    named = {document for documents in judgements.values() for document in documents}
    holders: dict[str, list[Key]] = {}
    later = Reading(skip_bad=sys.maxsize)  # bad rows are reported when the passages are kept
    for _, (name, lang, _) in _texts(later, benchmark.corpus, with_text=False):
        if name in named and (lang, name) not in (known := holders.setdefault(name, [])):
            known.append((lang, name))
    return holders


def _gaps(
    reading: Reading, judgements: Judgements, seen: AbstractSet[str], lost: Sequence[str]
) -> Iterator[Missing]:
    """Queries with a relevant passage, and judged passages, that no table has."""
    queries = {
        query: min(answer.place for answer in documents.values())
        for query, documents in judgements.items()
        if any(answer.grade > 0 for answer in documents.values())
    }
    documents: dict[str, int] = {}
    for of in judgements.values():
        for document, answer in of.items():
            documents.setdefault(document, answer.place)
    for what, ids, places, holder in (
        ("judged queries", [query for query in queries if query not in seen], queries, "queries"),
        ("judged passages", lost, documents, "corpus"),
    ):
        if ids:
            where = reading.where(places[ids[0]])
            yield Missing(where, what, "any language", ids, len(places), f"the {holder}")


def _texts(
    reading: Reading, tables: Sequence[TextTable], with_text: bool = True
) -> Iterator[tuple[int, Text]]:
    """Places and texts; without their text, which is not read, on request."""
    for table in tables:
        columns: dict[str, Language | Template] = {"id": table.id, "lang_column": table.lang}
        if with_text:
            columns["text"] = table.text
        for place, record in _records(reading, table.rows, table.rows.named(columns)):
            try:
                lang = row_language(reading, table.lang, record)
                text = table.text.text(record) if with_text else ""
                yield place, Text(table.id.key(record), lang, text)
            except BadRecord as problem:
                reading.refuse(reading.where(place), str(problem))


def _records(reading: Reading, rows: Rows, columns: NamedColumns) -> Iterator[tuple[int, Record]]:
    """Places and rows that meet all conditions."""
    for file, _ in find_tables(rows.paths, rows.config, rows.split):
        first = reading.place(file, 0)
        for number, record in mapped_rows(reading, file, rows.cells, columns):
            try:
                kept = all(condition.holds(record) for condition in rows.where)
            except BadRecord as problem:
                reading.refuse(f"{file}:{number}", str(problem))
                continue
            if kept:
                yield first + number, record


SOURCE = Source(
    "benchmark",
    "queries, corpus and qrels from the tables that a YAML file names",
    "those that the file names",
    collection=collection,
    locate=locate,
)
