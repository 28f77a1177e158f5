"""Lines and records of published files, each with its place."""

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.data.blocks import (
    BROKEN,
    EMPTY,
    check_all_rows_read,
    check_columns,
    open_decompressed,
)
from hybrid_dist.data.reading import Reading, short
from hybrid_dist.data.sources.paths import without_compression
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import json_problem

Record = Mapping[str, Any]
T = TypeVar("T")


class BadRecord(ValueError):
    """What is wrong with a line, and what was expected; the caller adds the place."""


def lines(reading: Reading, file: Path) -> Iterator[tuple[int, str]]:
    """Numbers and texts of a file's lines, without line ends."""
    number = 0
    try:
        with open_decompressed(file) as stream:
            for number, line in enumerate(stream, 1):
                try:
                    text = line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    problem = f"not UTF-8 ({error.reason} at byte {error.start})"
                    reading.refuse(f"{file}:{number}", problem)
                    continue
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except BROKEN as error:
        raise UserError(f"{file}:{number + 1}: broken file ({error}); copy it again") from None
    except OSError as error:
        what = error.strerror or str(error)
        if file.suffix == ".zst":
            raise UserError(f"{file}:{number + 1}: broken file ({what}); copy it again") from None
        raise UserError(f"{file}: cannot be read ({what})") from None
    if not number:
        raise UserError(f"{file}: {EMPTY}")


def records(reading: Reading, file: Path, parse: Callable[[Record], T]) -> Iterator[tuple[int, T]]:
    """Places and `parse` results of a file's JSON lines, or of its rows if it is Parquet.

    `parse` raises a BadRecord for a record that cannot be used.
    """
    rows = _rows(file) if file.suffix == ".parquet" else objects(reading, file)
    return parsed(reading, file, rows, parse)


def columns(
    reading: Reading, file: Path, parse: Callable[[list[str]], T]
) -> Iterator[tuple[int, T]]:
    """As `records`, for lines of tab-separated columns."""
    split = ((number, line.split("\t")) for number, line in lines(reading, file) if line)
    return parsed(reading, file, split, parse)


def parsed(
    reading: Reading, file: Path, given: Iterator[tuple[int, Any]], parse: Callable[[Any], T]
) -> Iterator[tuple[int, T]]:
    """Places and `parse` results of numbered records; those that it refuses are bad."""
    first = reading.place(file, 0)
    for number, value in given:
        try:
            item = parse(value)
        except ValueError as error:
            reading.refuse(f"{file}:{number}", str(error))
            continue
        yield first + number, item


def objects(reading: Reading, file: Path) -> Iterator[tuple[int, Any]]:
    """Numbers and JSON objects of a file's lines."""
    for number, line in lines(reading, file):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = f"not JSON ({line_problem(error)}); expected one object a line"
            reading.refuse(f"{file}:{number}", problem)
            continue
        if not isinstance(record, dict):
            reading.refuse(f"{file}:{number}", f"expected a JSON object, found {short(record)}")
            continue
        yield number, record


def line_problem(error: Exception) -> str:
    """Why a line is not JSON; the caller adds the line's number."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return json_problem(error)


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            check_columns(file, parquet.schema_arrow.names)
            for batch in parquet.iter_batches(batch_size=1024):
                rows = batch.to_pylist()
                yield from enumerate(rows, number + 1)
                number += len(rows)
            check_all_rows_read(parquet, number)
    except (pa.ArrowException, OSError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(f"{file}: not a readable Parquet file ({first})") from None


def text(record: Record, name: str) -> str:
    """The non-empty text in a field."""
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        has = f"found {short(value)}" if name in record else f"found only {', '.join(record)}"
        raise BadRecord(f"expected a non-empty text as {name!r}, {has}")
    return nfc(value)


def key(record: Record, name: str) -> str:
    """The id in a field: a text or a whole number."""
    value = record.get(name)
    return str(value) if type(value) is int else text(record, name)


def column(cells: list[str], number: int, what: str) -> str:
    """The non-empty text in a column."""
    if len(cells) <= number or not cells[number].strip():
        raise BadRecord(
            f"expected {what} in column {number + 1}, found {short(chr(9).join(cells))}"
        )
    return nfc(cells[number])


def parse_integer(cell: str) -> int:
    """A whole number in ASCII digits: `int` takes `1_0` and other scripts' digits as well."""
    if not (cell.isascii() and cell.isdigit()):
        raise ValueError(f"{cell[:80]!r} is no whole number")
    return int(cell)


def nfc(raw: str) -> str:
    """A text in NFC."""
    if raw.isascii():
        return raw
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise BadRecord(f"expected text, found half a letter in {short(raw)}") from None
    return unicodedata.normalize("NFC", raw)


def stem(file: Path) -> str:
    """A file's name without suffixes."""
    return Path(without_compression(file.name)).stem
