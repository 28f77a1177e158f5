"""Rows of tables as training pairs."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from hybrid_dist.data.reading import Reading, short
from hybrid_dist.data.sources.collecting import Pair, ScoredPair
from hybrid_dist.data.sources.lines import BadRecord, Record
from hybrid_dist.data.tables.column_texts import Column, expand, field_names
from hybrid_dist.data.tables.known_layouts import Layout
from hybrid_dist.data.tables.layout_columns import layout_settings
from hybrid_dist.data.tables.mapping import (
    Settings,
    TableMapping,
    conditions,
    listed,
    mapping_of,
    one_text,
    replaced,
    settings_of,
)
from hybrid_dist.data.tables.table_files import find_tables
from hybrid_dist.data.tables.table_rows import BATCH, CellFormat, Row, read_rows
from hybrid_dist.errors import UserError, nearest

LARGEST = 3.4e38
"""Scores are kept in 32 bits."""
NEEDED = ("query", "passage", "lang or lang_column")


def table_pairs(
    paths: Sequence[str], reading: Reading, layout: Layout | None = None
) -> Iterator[Pair | ScoredPair]:
    """The pairs of all rows, file after file. Options of a `layout` hold where none are given."""
    settings = settings_of(reading.options)
    cells = _cell_format(settings)
    files = find_tables(paths, one_text(settings, "config"), one_text(settings, "split"))
    if layout is not None:
        of_layout = layout_settings(layout, files, cells, settings, reading.notes)
        settings = replaced(of_layout, settings)
    _check_named(settings, files[0].file, cells)
    mapping = mapping_of(settings)
    reading.mapping.update(settings)
    rows = left_out = without = 0
    for file, name in files:
        first = reading.place(file, 0)
        for number, record in _checked(file, mapping, _rows(reading, file, cells, mapping)):
            rows += 1
            try:
                if not all(condition.holds(record) for condition in mapping.where):
                    left_out += 1
                    continue
                pairs = list(_of_row(mapping, record, reading, f"{name}:{number}", first + number))
            except BadRecord as problem:
                reading.refuse(f"{file}:{number}", str(problem))
                continue
            without += not pairs
            yield from pairs
    if without:
        reading.notes.append(f"{without:,} of {rows:,} rows have an empty list and give no pair")
    if mapping.where:
        shown = " and ".join(conditions(settings))
        reading.notes.append(f"where {shown}: left out {left_out:,} of {rows:,} rows")
        if left_out and left_out == rows:
            raise UserError(
                f"{', '.join(paths)}: option where={shown} leaves out all {rows:,} rows"
            )


def _of_row(
    mapping: TableMapping, record: Record, reading: Reading, name: str, place: int
) -> Iterator[Pair | ScoredPair]:
    """The pairs of a row: one for each side, and for each element of a list."""
    for side in mapping.sides:
        elements = expand(record, [side.query, side.passage])
        for number, element in enumerate([record] if elements is None else elements):
            uid = name if mapping.uid is None else mapping.uid.key(element)
            pair = Pair(
                uid=uid if elements is None else f"{uid}#{number}",
                lang=_language(reading, side.lang, element),
                query=side.query.text(element),
                passage=side.passage.text(element),
                negatives=[t for template in mapping.negatives for t in template.texts(element)],
                place=place,
            )
            if mapping.scores is None:
                yield pair
                continue
            at = None if elements is None else (number, len(elements))
            yield ScoredPair(*pair, *_scores(*mapping.scores, record, at, len(pair.negatives)))


def _scores(
    positive: Column,
    negative: Column,
    record: Record,
    at: tuple[int, int] | None,
    negatives: int,
) -> tuple[float, list[float]]:
    """The scores of a row's passage and of its negatives.

    `at`: if the passage is one of a list, its place there and the list's length.
    """
    score, scores = positive.value(record), negative.value(record)
    if at is not None:
        number, passages = at
        if not isinstance(score, list) or len(score) != passages:
            raise BadRecord(
                f"column {positive.name}: expected {passages} scores, one per passage, found "
                f"{short(score)}"
            )
        score = score[number]
    scores = [] if scores is None and not negatives else scores
    if not isinstance(scores, list) or len(scores) != negatives:
        raise BadRecord(
            f"column {negative.name}: expected {negatives} scores, one per negative, found "
            f"{short(scores)}"
        )
    for column, value in ((positive, score), *((negative, one) for one in scores)):
        if type(value) not in (int, float) or not abs(value) <= LARGEST:
            raise BadRecord(f"column {column.name}: expected a score, found {short(value)}")
    return float(score), [float(one) for one in scores]


def _language(reading: Reading, lang: str | Column, record: Record) -> str:
    if isinstance(lang, str):
        return reading.language(lang)
    code = lang.value(record)
    if not isinstance(code, str) or not code.strip():
        raise BadRecord(f"column {lang.name}: expected a language code, found {code!r:.80}")
    try:
        return reading.language(code)
    except ValueError as error:
        raise BadRecord(f"column {lang.name}: {error}") from None


def _rows(reading: Reading, file: Path, cells: CellFormat, mapping: TableMapping) -> Iterator[Row]:
    def choose(names: Sequence[str]) -> list[str]:
        by_name = dict.fromkeys(names)
        roots: dict[str, None] = {}
        for option, column in mapping.columns():
            root = column.root(by_name)
            if root not in by_name and names:
                raise _no_column(file, option, column.name, names)
            roots[root] = None
        return list(roots)

    return read_rows(reading, file, cells, choose)


def _checked(file: Path, mapping: TableMapping, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; a UserError if the first ones have no field of the name that a column gives."""
    first = list(islice(rows, BATCH))
    for option, column in mapping.columns():
        fields: dict[str, None] = {}
        for _, record in first:
            fields.update(dict.fromkeys(field_names(record, column)))
        if fields and column.name not in fields:
            raise _no_column(file, option, column.name, list(fields))
    return chain(first, rows)


def _no_column(file: Path, option: str, name: str, names: Sequence[str]) -> UserError:
    shown = ", ".join(names[:60]) + (", ..." if len(names) > 60 else "")
    return UserError(
        f"{file}: has no column {name!r}, which option {option} names{nearest(name, names)} "
        f"(its columns: {shown})"
    )


def _cell_format(settings: Settings) -> CellFormat:
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


def _check_named(settings: Settings, file: Path, cells: CellFormat) -> None:
    """Refuse a mapping without query, passage or language, and say which columns there are."""
    lacking = [one for one in NEEDED if not any(name in settings for name in one.split(" or "))]
    if not lacking:
        return

    def stop(names: Sequence[str]) -> list[str]:
        raise UserError(
            f"{file}: say which columns make the pairs: give the options {', '.join(lacking)} "
            f"(its columns: {', '.join(names) or 'none'})"
        )

    next(read_rows(Reading(skip_bad=BATCH), file, cells, stop), None)
