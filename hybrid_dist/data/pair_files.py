"""Pair files: JSON lines or Parquet of `{"uid", "lang", "query", "passage"}`, as blocks of rows.

Blocks are parsed and checked in C++. A block with any bad row is read again row by row, to report
what is wrong and where.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from hybrid_dist.data.blocks import (
    Block,
    check_all_rows_read,
    check_columns,
    expand_globs,
    line_blocks,
)
from hybrid_dist.data.languages import canonical
from hybrid_dist.data.normal import normalize_nfc
from hybrid_dist.data.reading import PAIRS, Reading, short
from hybrid_dist.data.threads import prefetch_map
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import json_problem

FIELDS = ("uid", "lang", "query", "passage")
NEGATIVES = "negatives"
PARQUET_ROWS = 1 << 16
Columns = dict[str, pa.Array]
Read = Iterator[tuple[Columns, np.ndarray]]
"""Good rows, block by block, and their places."""


def read_pair_files(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """The pairs of the files, file after file, in blocks of the schema `PAIRS`."""
    for file in expand_globs(paths):
        read = _of_parquet if file.suffix == ".parquet" else _of_lines
        for columns, places in read(file, reading):
            if len(places):
                arrays = [*_named(columns, reading), pa.array(places)]
                yield pa.RecordBatch.from_arrays(arrays, schema=PAIRS)


def _named(columns: Columns, reading: Reading) -> list[pa.Array]:
    """The columns in the order of PAIRS, with canonical language names."""
    columns["lang"], renamed = named_languages(columns["lang"])
    reading.named.update(renamed)
    return [columns[name] for name in (*FIELDS, NEGATIVES)]


def named_languages(codes: pa.Array) -> tuple[pa.Array, dict[str, str]]:
    """The canonical names of languages, and the codes that have another one.

    A ValueError if a code is unknown.
    """
    given = codes.dictionary_encode()
    names = {code: canonical(code) for code in given.dictionary.to_pylist()}
    renamed = {code: name for code, name in names.items() if code != name}
    return pa.array(names.values(), pa.string()).take(given.indices), renamed


def list_lengths(lists: pa.Array) -> np.ndarray:
    """The number of values in each list; none where it is null."""
    lengths: np.ndarray = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    return lengths


def _of_lines(file: Path, reading: Reading) -> Read:
    for block, columns in prefetch_map(_parsed, line_blocks(file)):
        first = reading.place(file, block.line)
        if columns is not None:
            yield columns, np.arange(first, first + len(columns["uid"]))
            continue
        good: list[tuple[int, dict[str, Any]]] = []
        for number, line in enumerate(block.content.split(b"\n")):
            if not line.strip():
                continue
            try:
                good.append((first + number, _row(_object(line))))
            except ValueError as error:
                reading.refuse(reading.where(first + number), str(error))
        yield _gathered(good)


def _of_parquet(file: Path, reading: Reading) -> Read:
    start = first = reading.place(file, 1)
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(PARQUET_ROWS, columns=_fields(file, parquet)):
                columns = _converted(pa.Table.from_batches([batch]))
                if columns is not None:
                    yield columns, np.arange(first, first + len(batch))
                else:
                    yield _row_by_row(batch, first, reading)
                first += len(batch)
            check_all_rows_read(parquet, first - start)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{file}: not a readable Parquet file ({reason})") from None


def _parsed(block: Block) -> Columns | None:
    """All rows of a block of lines; None unless every line is a valid pair."""
    content = pa.py_buffer(block.content)
    lines = _lines_with_objects(block.content)
    if not lines:
        return None  # pyarrow's parser crashes on a first line `null`
    for uid in (pa.string(), pa.int64()):
        schema = pa.schema({name: pa.string() for name in FIELDS} | {"uid": uid})
        schema = schema.append(PAIRS.field(NEGATIVES))
        try:
            table = pyarrow.json.read_json(
                pa.BufferReader(content),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(content)),
                parse_options=pyarrow.json.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior="ignore"
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        if table.num_rows == lines and _is_utf8(content):
            return _checked(table)
    return None


def _lines_with_objects(content: bytes) -> int:
    """The number of lines if every line begins with `{`, otherwise 0."""
    letters = np.frombuffer(content, np.uint8)
    begin = np.flatnonzero(letters[:-1] == ord("\n")) + 1
    if content[:1] != b"{" or np.any(letters[begin] != ord("{")):
        return 0
    return len(begin) + 1


def _is_utf8(content: pa.Buffer) -> bool:
    ends = pa.py_buffer(np.array([0, len(content)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, content]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _checked(table: pa.Table) -> Columns | None:
    """The normalized columns; None if any row is invalid."""
    columns = {name: _whole(table[name]) for name in table.column_names}
    columns["uid"] = columns["uid"].cast(pa.string())
    if any(any_missing(columns[name]) for name in FIELDS):
        return None
    if any(_no_language(code) for code in columns["lang"].unique().to_pylist()):
        return None
    listed = columns.get(NEGATIVES, pa.nulls(len(table), PAIRS.field(NEGATIVES).type))
    negatives = listed.flatten()
    if any_missing(negatives):
        return None
    starts = pa.array(np.concatenate([[0], np.cumsum(list_lengths(listed))]), pa.int32())
    columns[NEGATIVES] = pa.ListArray.from_arrays(starts, normalize_nfc(negatives))
    return columns | {name: normalize_nfc(columns[name]) for name in ("uid", "query", "passage")}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def missing(texts: pa.Array) -> pa.Array:
    """Which texts are null, empty or blank."""
    empty = pc.equal(pc.binary_length(texts), 0)
    return pc.fill_null(pc.or_(empty, pc.utf8_is_space(texts)), True)


def any_missing(texts: pa.Array) -> bool:
    """Whether any text is null, empty or blank."""
    return bool(texts.null_count) or bool(pc.any(missing(texts)).as_py())


def _no_language(code: str) -> str:
    """What is wrong with a language code; empty if it is valid."""
    try:
        canonical(code)
    except ValueError as error:
        return str(error)
    return ""


def _gathered(good: Sequence[tuple[int, dict[str, Any]]]) -> tuple[Columns, np.ndarray]:
    """Columns and places of rows that were checked one by one."""
    schema = pa.schema([PAIRS.field(name) for name in (*FIELDS, NEGATIVES)])
    columns = _checked(pa.Table.from_pylist([row for _, row in good], schema)) if good else {}
    return columns or {}, np.array([place for place, _ in good], np.int64)


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object in a line; a ValueError says what is wrong."""
    expected = (
        f"a pair file has one object a line, with {', '.join(FIELDS)}; of a table make a store "
        "with `hybrid-dist prepare table`"
    )
    try:
        line.decode()  # strictly: json itself lets encoded surrogates pass
        record = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno}); {expected}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # an ignored field may have a value that Python cannot parse
        columns = _parsed(Block(Path(), 1, line.strip()))
        if columns is None:
            raise ValueError(f"not JSON ({json_problem(error)}); {expected}") from None
        return {name: column[0].as_py() for name, column in columns.items()}
    if not isinstance(record, dict):
        raise ValueError(f"expected an object with {', '.join(FIELDS)}")
    return record


def _row(record: dict[str, Any]) -> dict[str, Any]:
    """A pair's fields; a ValueError says what is wrong with one."""
    row = {name: _text(record, name) for name in FIELDS}
    problem = _no_language(row["lang"])
    if problem:
        raise ValueError(problem)
    negatives = record.get(NEGATIVES)
    negatives = [] if negatives is None else negatives
    if not isinstance(negatives, list) or not all(_is_text(text) for text in negatives):
        raise ValueError(
            f"expected a list of non-empty texts as {NEGATIVES!r}, found {short(negatives)}"
        )
    return row | {NEGATIVES: negatives}


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if name == "uid" and type(value) is int:
        return str(value)
    if isinstance(value, bytes):
        raise ValueError(f"{name!r} is not UTF-8")
    if not _is_text(value):
        shown = short(value) if name in record else f"only {', '.join(record) or 'nothing'}"
        raise ValueError(f"expected a non-empty text as {name!r}, found {shown}")
    return str(value)


def _is_text(value: object) -> bool:
    """Whether a value is text with a character other than blanks, and no lone surrogate."""
    if not isinstance(value, str) or not value.strip():
        return False
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _fields(file: Path, parquet: pq.ParquetFile) -> list[str]:
    """The columns to read; a UserError if one is missing or of another type."""
    schema = parquet.schema_arrow
    check_columns(file, schema.names)
    for name in FIELDS:
        if name not in schema.names:
            raise UserError(
                f"{file}: expected columns {', '.join(FIELDS)}, found {', '.join(schema.names)}"
            )
        if not (_holds_text(kind := schema.field(name).type) or _may_be_uid(name, kind)):
            raise UserError(f"{file}: column {name!r} holds {kind}; expected text")
    if NEGATIVES not in schema.names:
        return [*FIELDS]
    kind = schema.field(NEGATIVES).type
    if not (
        (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _holds_text(kind.value_type)
    ):
        raise UserError(f"{file}: column {NEGATIVES!r} holds {kind}; expected lists of texts")
    return [*FIELDS, NEGATIVES]


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _may_be_uid(name: str, kind: pa.DataType) -> bool:
    return name == "uid" and bool(pa.types.is_integer(kind))


def _converted(table: pa.Table) -> Columns | None:
    """Columns of any string type as plain strings; None if any row is invalid."""
    fields = [PAIRS.field(name) for name in table.column_names]
    try:
        table = table.cast(pa.schema(fields))
        table.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return _checked(table)


def _row_by_row(batch: pa.RecordBatch, first: int, reading: Reading) -> tuple[Columns, np.ndarray]:
    good: list[tuple[int, dict[str, Any]]] = []
    for number in range(len(batch)):
        try:
            (record,) = batch.slice(number, 1).to_pylist()
            good.append((first + number, _row(record)))
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 ({error.reason} at byte {error.start})"
            reading.refuse(reading.where(first + number), problem)
        except ValueError as error:
            reading.refuse(reading.where(first + number), str(error))
    return _gathered(good)
