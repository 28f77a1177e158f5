"""Blocks of a table as training pairs, column by column.

Only blocks in which every row is as it should be are mapped here. Others are left to
`mapped_pairs`, which maps row by row and says what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.normal import normalize_nfc
from hybrid_dist.data.pair_files import any_missing, list_lengths, missing, named_languages
from hybrid_dist.data.reading import PAIRS
from hybrid_dist.data.tables.column_texts import Column, Template
from hybrid_dist.data.tables.conditions import Condition
from hybrid_dist.data.tables.mapping import Side, TableMapping

COMPARISONS: Mapping[str, Callable[[Any, Any], pa.Array]] = {
    "=": pc.equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


class Rows(NamedTuple):
    """Consecutive rows of a file."""

    name: str
    """The file's name in uids."""
    number: int
    """The number of the first one."""
    place: int
    """Its place."""
    batch: pa.RecordBatch


class Mapped(NamedTuple):
    """The pairs of some rows."""

    pairs: pa.RecordBatch
    left_out: int
    """Rows that do not meet the conditions."""
    renamed: dict[str, str]
    """Language codes and the names they have here, where these differ."""


class _UnusualError(ValueError):
    """A column or a row that has to be looked at row by row."""


def map_columns(mapping: TableMapping, rows: Rows) -> Mapped | None:
    """The pairs of some rows, all valid; None if they have to be mapped one by one."""
    if mapping.scores is not None:
        return None
    try:
        return _mapped(mapping, rows)
    except (pa.ArrowException, ValueError):
        return None


def _mapped(mapping: TableMapping, rows: Rows) -> Mapped:
    names = rows.batch.schema.names
    batch = pa.RecordBatch.from_arrays([_plain(column) for column in rows.batch.columns], names)
    offsets = np.arange(len(batch))
    if mapping.where:
        kept = np.logical_and.reduce([_holds(one, batch) for one in mapping.where])
        batch, offsets = batch.filter(pa.array(kept)), offsets[kept]
    numbers = pa.array(offsets + rows.number)
    if mapping.uid is None:
        uids = pc.binary_join_element_wise(f"{rows.name}:", numbers.cast(pa.string()), "")
    else:
        uids = _texts(mapping.uid, batch, is_key=True)
    sides = mapping.sides
    queries = _interleaved([_texts(side.query, batch) for side in sides])
    passages = _interleaved([_texts(side.passage, batch) for side in sides])
    negatives = _negatives(mapping.negatives, batch, len(batch) * len(sides))
    places = pa.array(np.repeat(offsets + rows.place, len(sides)))
    languages, renamed = named_languages(_interleaved([_codes(side, batch) for side in sides]))
    columns = [_interleaved([uids] * len(sides)), languages, queries, passages, negatives, places]
    pairs = pa.RecordBatch.from_arrays(columns, schema=PAIRS)
    return Mapped(pairs, len(rows.batch) - len(batch), renamed)


def _interleaved(sides: Sequence[pa.Array]) -> pa.Array:
    """The values of all sides row by row."""
    if len(sides) == 1:
        return sides[0]
    order = np.arange(sum(map(len, sides))).reshape(len(sides), -1).T.ravel()
    return pa.concat_arrays(sides).take(pa.array(order))


def _plain(values: pa.Array) -> pa.Array:
    """A column of any type of text as one of plain strings; others are as they were."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.dictionary_decode())
    wide = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return values.cast(pa.string()) if wide else values


def _column(column: Column, batch: pa.RecordBatch) -> pa.Array:
    if column.name not in batch.schema.names:
        raise _UnusualError(column.name)
    return batch.column(column.name)


def _as_text(values: pa.Array) -> pa.Array:
    if not pa.types.is_string(values.type):
        raise _UnusualError(values.type)
    return values


def _texts(template: Template, batch: pa.RecordBatch, is_key: bool = False) -> pa.Array:
    """The text of each row in NFC, all of them there."""
    if len(template.parts) == 1 and isinstance(column := template.parts[0], Column):
        values = _column(column, batch)
        is_number = is_key and pa.types.is_integer(values.type)
        texts = values.cast(pa.string()) if is_number else _as_text(values)
        if any_missing(texts):
            raise _UnusualError(column.name)
        return normalize_nfc(texts)
    columns = {part: _inserted(_column(part, batch)) for part in template.columns}
    blank = [missing(texts).to_numpy(zero_copy_only=False) for texts in columns.values()]
    if np.logical_and.reduce(blank).any():
        raise _UnusualError(template.written)
    parts = [part if isinstance(part, str) else columns[part] for part in template.parts]
    return normalize_nfc(pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, "")))


def _inserted(values: pa.Array) -> pa.Array:
    """A column's texts inside of others, nothing where it is null."""
    kind = values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_null(kind)
    return pc.fill_null(values.cast(pa.string()) if is_number else _as_text(values), "")


def _codes(side: Side, batch: pa.RecordBatch) -> pa.Array:
    """The language code of each row."""
    if isinstance(side.lang, str):
        return pa.array([side.lang], pa.string()).take(pa.array(np.zeros(len(batch), np.int64)))
    codes = _as_text(_column(side.lang, batch))
    if codes.null_count:
        raise _UnusualError(side.lang.name)
    return codes


def _negatives(templates: Sequence[Template], batch: pa.RecordBatch, rows: int) -> pa.Array:
    """The list of negatives of each row, from columns of texts and of lists of texts."""
    listed = [_listed(template, batch) for template in templates]
    counts = sum((counts for counts, _ in listed), np.zeros(rows, np.int64))
    texts = pa.concat_arrays([texts for _, texts in listed] or [pa.array([], pa.string())])
    if len(listed) > 1:
        row_of = np.concatenate([np.repeat(np.arange(rows), counts) for counts, _ in listed])
        texts = texts.take(pa.array(np.argsort(row_of, kind="stable")))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts)


def _listed(template: Template, batch: pa.RecordBatch) -> tuple[np.ndarray, pa.Array]:
    """The number of texts that a column has in each row, and the texts of all rows."""
    if len(template.parts) > 1 or not isinstance(column := template.parts[0], Column):
        raise _UnusualError(template.written)
    values = _column(column, batch)
    if pa.types.is_null(values.type):
        return np.zeros(len(values), np.int64), pa.array([], pa.string())
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        texts = _as_text(_plain(values.flatten()))
        if any_missing(texts):
            raise _UnusualError(column.name)
        return list_lengths(values), normalize_nfc(texts)
    texts = _as_text(values)
    there = pc.invert(missing(texts))
    return there.to_numpy(zero_copy_only=False).astype(np.int64), normalize_nfc(texts.filter(there))


def _holds(condition: Condition, batch: pa.RecordBatch) -> np.ndarray:
    """Whether each row meets a condition."""
    values = _column(condition.column, batch)
    constant: bool | str | float | Decimal = condition.constant
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values), bool)
    if isinstance(constant, bool):
        if not pa.types.is_boolean(kind):
            raise _UnusualError(condition.column.name)
    elif isinstance(constant, str):
        values = _as_text(values)
    elif pa.types.is_float32(kind) or pa.types.is_float64(kind):
        values, constant = values.cast(pa.float64()), float(constant)
    elif not pa.types.is_integer(kind) and not pa.types.is_decimal(kind):
        raise _UnusualError(condition.column.name)
    held = COMPARISONS[condition.operator](values, pa.scalar(constant))
    if pa.types.is_float64(values.type):
        held = pc.and_not(held, pc.is_nan(values))
    result: np.ndarray = pc.fill_null(held, False).to_numpy(zero_copy_only=False)
    return result
