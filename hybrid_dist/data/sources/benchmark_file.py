"""A benchmark in one YAML file: which columns of which tables are its queries, corpus and qrels."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_dist.config.strict_yaml import check_keys, read_yaml
from hybrid_dist.config.task_collections import TASKS
from hybrid_dist.data.blocks import path_exists
from hybrid_dist.data.languages import canonical
from hybrid_dist.data.tables.column_texts import Column, Template, parse_template
from hybrid_dist.data.tables.conditions import Condition, parse_conditions
from hybrid_dist.data.tables.mapped_rows import NamedColumns, cell_format
from hybrid_dist.data.tables.mapping import FILES, Settings, conditions, one_text
from hybrid_dist.data.tables.table_rows import CellFormat
from hybrid_dist.errors import UserError, short

QRELS = "qrels"
SECTIONS = ("queries", "corpus", QRELS)
ROWS = ("path", "where", *FILES)
TEXTS = ("id", "text", "lang", "lang_column")
JUDGED = ("query", "passage", "grade", "lang", "lang_column", "passage_lang", "passage_lang_column")
Language = str | Column


@dataclass(frozen=True)
class Rows:
    """Rows of a table."""

    file: Path
    """The file that describes it."""
    key: str
    """Where the file describes it: `queries`, or `queries.2` of several tables."""
    paths: tuple[str, ...]
    config: str | None
    split: str | None
    cells: CellFormat
    where: tuple[Condition, ...]

    def named(self, columns: Mapping[str, Language | Template | None]) -> NamedColumns:
        """All columns that are read, by key."""
        named = [
            (f"{self.key}.{name}", column)
            for name, value in columns.items()
            for column in _columns(value)
        ]
        return [*named, *((f"{self.key}.where", condition.column) for condition in self.where)]

    @property
    def described_at(self) -> str:
        """The file and the key."""
        return f"{self.file}: {self.key}"

    @property
    def where_from(self) -> str:
        """The table, as messages name it."""
        return f"{self.key} ({', '.join(self.paths)})"


@dataclass(frozen=True)
class TextTable:
    """A table of queries or of passages."""

    rows: Rows
    id: Template
    text: Template
    lang: Language


@dataclass(frozen=True)
class QrelsTable:
    """A table of judgements."""

    rows: Rows
    query: Template
    passage: Template
    grade: Column | None
    """None: every row is a relevant passage, with grade 1."""
    query_lang: Language | None
    """None: ids are the same text in all languages."""
    passage_lang: Language | None


@dataclass(frozen=True)
class Benchmark:
    """The content of a file."""

    file: Path
    queries: tuple[TextTable, ...]
    corpus: tuple[TextTable, ...]
    qrels: tuple[QrelsTable, ...]

    @property
    def rows(self) -> list[Rows]:
        """The rows of all tables."""
        texts = [table.rows for table in (*self.queries, *self.corpus)]
        return [*texts, *(table.rows for table in self.qrels)]


def read_benchmark(file: Path) -> Benchmark:
    """Read a file; a UserError names it and the key of a problem."""
    content = read_yaml(file)
    if isinstance(content, dict) and TASKS in content:
        raise UserError(
            f"{file}: lists tasks (key {TASKS}); a task that is one benchmark has "
            f"{', '.join(SECTIONS)}"
        )
    if isinstance(content, dict) and not content.keys() & set(SECTIONS):
        found = ", ".join(map(str, content)) or "none"
        raise UserError(
            f"{file}: has neither {TASKS}, the key of a task collection, nor "
            f"{', '.join(SECTIONS)}, those of a benchmark; its keys: {found}"
        )
    given = _mapping(content, SECTIONS, f"{file}")
    try:
        queries, corpus = (
            tuple(_text_table(settings, key, file) for key, settings in _tables(given, name))
            for name in SECTIONS[:2]
        )
        qrels = tuple(_qrels_table(settings, key, file) for key, settings in _tables(given, QRELS))
        if len({table.query_lang is None for table in qrels}) > 1:
            raise UserError("qrels: give all of its tables a language, or none")
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    return Benchmark(file, queries, corpus, qrels)


def _tables(content: Mapping[str, Any], name: str) -> Iterator[tuple[str, Settings]]:
    """The tables of a section, each with its key."""
    if name not in content:
        raise UserError(f"has no {name}; give {', '.join(SECTIONS)}")
    section = content[name]
    known = (*ROWS, *(JUDGED if name == QRELS else TEXTS))
    tables = section if isinstance(section, list) else [section]
    if not tables:
        raise UserError(f"{name}: is an empty list")
    for number, table in enumerate(tables, 1):
        key = f"{name}.{number}" if len(tables) > 1 else name
        settings = _mapping(table, known, key)
        for option, value in settings.items():
            values = value if isinstance(value, list) else [value]
            if not values or not all(isinstance(one, str) and one.strip() for one in values):
                raise UserError(f"{key}.{option}: expected a text, found {short(value)}")
        yield key, settings


def _mapping(content: Any, known: Sequence[str], where: str) -> dict[str, Any]:
    """A mapping with known keys only."""
    if not isinstance(content, dict):
        found = "nothing" if content is None else short(content)
        raise UserError(f"{where}: expected the keys {', '.join(known)}, found {found}")
    check_keys(content, known, where)
    return content


@contextmanager
def of_table(key: str) -> Iterator[None]:
    """Puts the key of a table, or of its option that an error is about, before the message."""
    try:
        yield
    except UserError as error:
        message = f"{error}".replace("the option ", "the key ")
        option = message.removeprefix("option ")
        message = f"{key}: {message}" if option == message else f"{key}.{option}"
        raise UserError(message) from None


def _text_table(settings: Settings, key: str, file: Path) -> TextTable:
    lang = _language(settings, key, "")
    if lang is None:
        raise UserError(f"{key}: give lang or lang_column")
    rows = _rows(settings, key, file)
    return TextTable(rows, _template(settings, key, "id"), _template(settings, key, "text"), lang)


def _qrels_table(settings: Settings, key: str, file: Path) -> QrelsTable:
    query_lang, own = _language(settings, key, ""), _language(settings, key, "passage_")
    if own is not None and query_lang is None:
        raise UserError(f"{key}: passage_lang needs lang or lang_column, that of queries")
    with of_table(key):
        grade = one_text(settings, "grade")
    return QrelsTable(
        _rows(settings, key, file),
        _template(settings, key, "query"),
        _template(settings, key, "passage"),
        None if grade is None else Column(grade),
        query_lang,
        own or query_lang,
    )


def _rows(settings: Settings, key: str, file: Path) -> Rows:
    given = settings.get("path")
    if given is None:
        raise UserError(f"{key}: give path, a file, glob or folder from here")
    paths = tuple(
        _place(path, key, file) for path in ([given] if isinstance(given, str) else given)
    )
    with of_table(key):
        return Rows(
            file,
            key,
            paths,
            one_text(settings, "config"),
            one_text(settings, "split"),
            cell_format(settings),
            tuple(one for part in conditions(settings) for one in parse_conditions(part)),
        )


def _place(path: str, key: str, file: Path) -> str:
    if path.startswith("hf://"):
        return path
    place = file.parent / path
    here = Path(os.path.abspath(file.parent))  # noqa: PTH100 - resolve() follows links in a circle
    if Path(os.path.abspath(place)) in here.parents:  # noqa: PTH100
        raise UserError(f"{key}.path: {path} is a folder above this file; name files in it")
    if path_exists(str(place)) or glob.escape(path) == path:
        return str(place)
    return str(Path(glob.escape(str(file.parent))) / path)


def _template(settings: Settings, key: str, option: str) -> Template:
    with of_table(key):
        written = one_text(settings, option)
        if written is None:
            raise UserError(f"give {option}, the name of a column, or a template")
        return parse_template(written, option)


def _language(settings: Settings, key: str, side: str) -> Language | None:
    with of_table(key):
        constant, column = (one_text(settings, f"{side}{name}") for name in ("lang", "lang_column"))
    if constant is not None and column is not None:
        raise UserError(f"{key}: give {side}lang or {side}lang_column, not both")
    if constant is None:
        return None if column is None else Column(column)
    try:
        return canonical(constant)
    except ValueError as error:
        raise UserError(f"{key}.{side}lang: {error}; {side}lang_column names a column") from None


def _columns(value: Language | Template | None) -> Iterator[Column]:
    if isinstance(value, Template):
        yield from value.columns
    elif isinstance(value, Column):
        yield value
