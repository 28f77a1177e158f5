"""A benchmark in one YAML file: queries, corpus and qrels from tables of any columns."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
    of_table,
    read_benchmark,
)
from hybrid_dist.data.sources.collecting import Answers, Key, Placed, collect
from hybrid_dist.data.sources.completeness import check_complete, judged_gaps
from hybrid_dist.data.sources.judged import Judgements
from hybrid_dist.data.sources.lines import Record, T, parsed
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.tables.column_texts import Template, expand
from hybrid_dist.data.tables.mapped_rows import NamedColumns, mapped_rows, row_language
from hybrid_dist.data.tables.table_files import expand as expand_globs
from hybrid_dist.data.tables.table_files import find_tables
from hybrid_dist.errors import UserError


def locate(path: str) -> list[str]:
    """The paths of all tables' files, and those on the hub as they are."""
    benchmark = _read(path)
    places: list[str] = []
    for rows in benchmark.rows:
        with of_table(rows.described_at):
            places += expand_globs(rows.paths)
    return places


def _read(path: str) -> Benchmark:
    if not path_exists(path) or not Path(path).is_file():
        raise UserError(f"{path}: no such file; name a YAML file with queries, corpus and qrels")
    return read_benchmark(Path(path))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """All passages, and the queries with a relevant one.

    Where qrels have no language, a judgement holds for a query and a passage in all languages.
    """
    if len(paths) != 1:
        raise UserError(f"{', '.join(paths)}: a benchmark is one file; prepare each on its own")
    benchmark = _read(paths[0])
    judged_by_language = benchmark.qrels[0].query_lang is not None
    judgements = _judgements(reading, benchmark, judged_by_language)
    holders = {} if judged_by_language else _holders(benchmark, judgements)
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

    def has_document(name: str) -> bool:
        return any(wanted[key] >= 0 for key in keys[name])

    gaps = judged_gaps(reading, judgements, seen.__contains__, has_document)
    check_complete(reading, gaps, _cure(benchmark, judged_by_language))
    return result


def _cure(benchmark: Benchmark, judged_by_language: bool) -> str:
    """What may be wrong in the file where ids are missing."""
    named = "the columns of ids"
    if judged_by_language:
        named += ", and the languages (those of qrels are before each id)"
    return f"check {named} in {benchmark.file}; if they are right, "


def _judgements(reading: Reading, benchmark: Benchmark, by_language: bool) -> Judgements:
    """The judgements of all tables; those without a language have to be the same in each."""
    tables = benchmark.qrels
    if not by_language and len(tables) > 1:
        judged.check_equal(
            (
                (table.rows.where_from, judged.by_query(reading, _judged(reading, [table])))
                for table in tables
            ),
            "give each table of qrels its lang, or name the files of judgements that hold for all "
            "languages as the path of one table",
        )
    where = ", ".join(place for table in tables for place in table.rows.paths)
    return judged.judgements(reading, _judged(reading, tables), where)


def _judged(
    reading: Reading, tables: Sequence[QrelsTable]
) -> Iterator[tuple[int, tuple[str, str, int]]]:
    """The ids of queries and passages, with their language where qrels have it, and grades."""
    for table in tables:
        columns = {
            "query": table.query,
            "passage": table.passage,
            "grade": table.grade,
            "lang_column": table.query_lang,
            "passage_lang_column": table.passage_lang,
        }
        parse = partial(_of_row, reading, table)
        for place, some in _parsed(reading, table.rows, table.rows.named(columns), parse):
            yield from ((place, one) for one in some)


def _of_row(reading: Reading, table: QrelsTable, row: Record) -> list[tuple[str, str, int]]:
    """The judgements of a row: of each element if a column holds a list."""
    elements = expand(row, [table.query, table.passage])
    return [_judgement(reading, table, one) for one in ([row] if elements is None else elements)]


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


def _holders(benchmark: Benchmark, judgements: Judgements) -> dict[str, list[Key]]:
    """By the id of a judged passage, its keys in all languages that have it."""
    later = Reading(skip_bad=sys.maxsize)  # bad rows are reported when the passages are kept
    texts = _texts(later, benchmark.corpus, with_text=False)
    holders = judged.languages_of(judgements, ((text.lang, text.id) for _, text in texts))
    return {name: [(lang, name) for lang in langs] for name, langs in holders.items()}


def _texts(
    reading: Reading, tables: Sequence[TextTable], with_text: bool = True
) -> Iterator[Placed]:
    """Places and texts; without their text, which is not read, on request."""
    for table in tables:
        columns: dict[str, Language | Template] = {"id": table.id, "lang_column": table.lang}
        if with_text:
            columns["text"] = table.text
        parse = partial(_text, reading, table, with_text)
        yield from _parsed(reading, table.rows, table.rows.named(columns), parse)


def _text(reading: Reading, table: TextTable, with_text: bool, row: Record) -> Text:
    lang = row_language(reading, table.lang, row)
    text = table.text.text(row) if with_text else ""
    return Text(table.id.key(row), lang, text)


def _parsed(
    reading: Reading, rows: Rows, columns: NamedColumns, parse: Callable[[Record], T]
) -> Iterator[tuple[int, T]]:
    """Places and `parse` results of rows that meet all conditions."""

    def parse_kept(row: Record) -> T | None:
        return parse(row) if all(condition.holds(row) for condition in rows.where) else None

    with of_table(rows.described_at):
        files = find_tables(rows.paths, rows.config, rows.split)
    for file, _ in files:
        given = mapped_rows(reading, file, rows.cells, columns)
        for place, item in parsed(reading, file, given, parse_kept):
            if item is not None:
                yield place, item


SOURCE = Source(
    "benchmark",
    "queries, corpus and qrels from the tables that a YAML file names",
    "those that the file names",
    collection=collection,
    locate=locate,
)
