"""Rows of a file by the columns that a mapping names, and the languages in them."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.lines import BadRecord, Record
from hybrid_dist.data.tables.column_texts import Column, field_names
from hybrid_dist.data.tables.mapping import Settings, listed, one_text
from hybrid_dist.data.tables.table_rows import (
    BATCH,
    CELLS,
    CellFormat,
    Choose,
    Row,
    kind_of,
    read_rows,
)
from hybrid_dist.errors import UserError, nearest

DELIMITERS = {";": ";", "\t": "tab", "|": "|", ",": ","}
"""Characters that separate cells, as the option `delimiter` has them."""
NamedColumns = Sequence[tuple[str, Column]]
"""Columns, each with what names it: `option query`."""


def mapped_rows(
    reading: Reading, file: Path, cells: CellFormat, columns: NamedColumns
) -> Iterator[Row]:
    """The rows with these columns; a UserError if the file, or its first objects, lack one."""
    rows = read_rows(reading, file, cells, chooser(file, columns))
    first = list(islice(rows, BATCH))
    for what, column in columns:
        fields: dict[str, None] = {}
        for _, record in first:
            fields.update(dict.fromkeys(field_names(record, column)))
        if fields and column.name not in fields:
            raise _no_column(file, what, column.name, list(fields))
    return chain(first, rows)


def chooser(file: Path, columns: NamedColumns) -> Choose:
    """Chooses these columns; a UserError if the file lacks one."""

    def choose(names: Sequence[str]) -> list[str]:
        by_name = dict.fromkeys(names)
        roots: dict[str, None] = {}
        for what, column in columns:
            root = column.root(by_name)
            if root not in by_name and names:
                raise _no_column(file, what, column.name, names)
            roots[root] = None
        return list(roots)

    return choose


def _no_column(file: Path, what: str, name: str, names: Sequence[str]) -> UserError:
    shown = ", ".join(names[:60]) + (", ..." if len(names) > 60 else "")
    return UserError(
        f"{file}: has no column {name!r}, which {what} names{nearest(name, names)} "
        f"(its columns: {shown}){delimiter_hint(file, names)}"
    )


def delimiter_hint(file: Path, names: Sequence[str]) -> str:
    """The option that a file of cells needs whose only name has another delimiter in it."""
    if kind_of(file) not in CELLS or len(names) != 1:
        return ""
    found = next((name for char, name in DELIMITERS.items() if char in names[0]), None)
    return "" if found is None else f"; give the option 'delimiter={found}'"


def row_language(reading: Reading, lang: str | Column, record: Record) -> str:
    """The language of a row: a constant, or what a column has."""
    if isinstance(lang, str):
        return reading.language(lang)
    code = lang.value(record)
    if not isinstance(code, str) or not code.strip():
        raise BadRecord(f"column {lang.name}: expected a language code, found {code!r:.80}")
    try:
        return reading.language(code)
    except ValueError as error:
        raise BadRecord(f"column {lang.name}: {error}") from None


def cell_format(settings: Settings) -> CellFormat:
    """How CSV files are written, by the options for it."""
    delimiter, quotes = one_text(settings, "delimiter"), one_text(settings, "quotes")
    delimiter = "\t" if delimiter in ("tab", r"\t") else delimiter
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise UserError(f"option delimiter={delimiter}: expected one character, or tab")
    if quotes not in (None, "yes", "no"):
        raise UserError(f"option quotes={quotes}: expected yes or no")
    columns = tuple(listed(settings, "columns"))
    if len(set(columns)) < len(columns):
        raise UserError(f"option columns={','.join(columns)}: a name comes twice")
    return CellFormat(delimiter, columns, quotes != "no")
