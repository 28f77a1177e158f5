"""Rows of JSON lines, Parquet, CSV, TSV and Arrow files as dictionaries, a batch at a time."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.data.blocks import EMPTY, check_all_rows_read, check_columns
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.lines import lines, objects
from hybrid_dist.data.sources.paths import without_compression
from hybrid_dist.errors import UserError

Row = tuple[int, dict[str, Any]]
"""A row's number, which is its line in a text file, and its columns by name."""
Choose = Callable[[Sequence[str]], list[str]]
"""The columns to read of those that a file has; raises a UserError if one is missing."""
BATCH = 1024
ROWS, BYTES = 1 << 14, 4 << 20
"""Rows, and about as many bytes, of a batch of Parquet and Arrow files, at most."""
LINES = ("jsonl", "json", "ndjson")
CELLS = {"csv": ",", "tsv": "\t"}
ARROW = ("arrow", "feather", "ipc")
KINDS = (*LINES, "parquet", *CELLS, *ARROW)
FILE_FORMAT = b"ARROW1"


@dataclass(frozen=True)
class CellFormat:
    """How CSV and TSV files are written, where it is not as usual."""

    delimiter: str | None = None
    columns: tuple[str, ...] = ()
    """Names of the columns, of files without a header."""
    quotes: bool = True


def kind_of(file: Path) -> str:
    """The format that a file's name says."""
    return without_compression(file.name).rpartition(".")[2]


def has_columns(file: Path) -> bool:
    """Whether a file can be read in batches of columns."""
    return kind_of(file) in ("parquet", *ARROW)


def read_rows(reading: Reading, file: Path, cells: CellFormat, choose: Choose) -> Iterator[Row]:
    """The rows of a file; bad ones are refused."""
    kind = kind_of(file)
    if kind in LINES:
        return _json_lines(reading, file, choose)
    if kind in CELLS:
        return _cells(reading, file, cells, cells.delimiter or CELLS[kind], choose)
    batches = read_batches(file, choose)
    return chain.from_iterable(rows_of(reading, file, batch, first) for first, batch in batches)


def read_columns(
    reading: Reading, file: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[Row]:
    """The rows of a file by known columns; a UserError if it lacks one."""

    def choose(names: Sequence[str]) -> list[str]:
        if names and not set(needed) <= set(names):
            raise UserError(
                f"{file}: expected columns {', '.join(needed)}, found {', '.join(names)}"
            )
        return [*needed, *(name for name in optional if name in names)]

    return read_rows(reading, file, CellFormat(), choose)


def _json_lines(reading: Reading, file: Path, choose: Choose) -> Iterator[Row]:
    given = objects(reading, file)
    first = list(islice(given, BATCH))
    choose(list(dict.fromkeys(name for _, record in first for name in record)))
    yield from chain(first, given)


def _cells(
    reading: Reading, file: Path, cells: CellFormat, delimiter: str, choose: Choose
) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    begin = last = 0

    def texts() -> Iterator[str]:
        nonlocal begin, last
        for last, line in lines(reading, file):
            begin = begin or last
            yield f"{line}\n"

    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if cells.quotes else csv.QUOTE_NONE
    names = list(cells.columns)
    if names:
        choose(names)
    try:
        for row in csv.reader(texts(), delimiter=delimiter, quoting=quoting, strict=True):
            number, begin = begin, 0
            if row and not names:
                names = row
                check_columns(file, names)
                choose(names)
            elif row and len(row) != len(names):
                reading.refuse(
                    f"{file}:{number}",
                    f"expected {len(names)} cells ({', '.join(names)}), found {len(row)}",
                )
            elif row:
                yield number, dict(zip(names, row, strict=True))
    except csv.Error as error:
        cure = "if quotation marks are text, give the option quotes=no"
        if "new-line" in str(error):
            error, cure = csv.Error("a CR inside of a line"), "end lines with LF or CR LF"
        where = f"{file}:{begin or last}"
        raise UserError(f"{where}: cannot be read as cells ({error}); {cure}") from None


def read_batches(file: Path, choose: Choose) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a Parquet or Arrow file in batches, each with the number of its first row."""
    kind, number = kind_of(file), 1
    if file.suffix != f".{kind}":
        raise UserError(f"{file}: unpack it first; a {kind} file is compressed inside")
    try:
        for batch in (_parquet if kind == "parquet" else _arrow)(file, choose):
            yield number, batch
            number += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        name = "Parquet" if kind == "parquet" else "Arrow"
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{file}: not a readable {name} file ({reason})") from None


def _parquet(file: Path, choose: Choose) -> Iterator[pa.RecordBatch]:
    rows = 0
    with pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        check_columns(file, names)
        groups = map(parquet.metadata.row_group, range(parquet.num_row_groups))
        size = _batch_size(sum(g.total_byte_size for g in groups), parquet.metadata.num_rows)
        for batch in parquet.iter_batches(size, columns=choose(names)):
            yield batch
            rows += len(batch)
        check_all_rows_read(parquet, rows)


def _arrow(file: Path, choose: Choose) -> Iterator[pa.RecordBatch]:
    """Arrow's file format, and its stream format, which the library datasets writes."""
    if not file.stat().st_size:
        raise UserError(f"{file}: {EMPTY}")
    for batch in _record_batches(file, choose):
        batch.validate(full=True)
        size = _batch_size(batch.nbytes, len(batch))
        yield from (batch.slice(start, size) for start in range(0, len(batch), size))


def is_valid(file: Path, batch: pa.RecordBatch) -> bool:
    """Whether all values of a file's batch are of its types; Arrow's are checked as they are read.

    Checking a slice takes as long as its whole dictionaries.
    """
    if kind_of(file) != "parquet":
        return True
    try:
        batch.validate(full=True)
    except pa.ArrowException:
        return False
    return True


def _batch_size(size: int, rows: int) -> int:
    """Rows per batch, of so many rows of so many bytes."""
    return max(BATCH, min(ROWS, BYTES * rows // max(1, size)))


def _record_batches(file: Path, choose: Choose) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as content:
        is_file = content.read(len(FILE_FORMAT)) == FILE_FORMAT
        open_format = pa.ipc.open_file if is_file else pa.ipc.open_stream
        content.seek(0)
        names = open_format(content).schema.names
        check_columns(file, names)
        fields = [names.index(name) for name in choose(names)]
        content.seek(0)
        reader = open_format(content, options=pa.ipc.IpcReadOptions(included_fields=fields))
        if is_file:
            yield from map(reader.get_batch, range(reader.num_record_batches))
        else:
            yield from reader


def rows_of(reading: Reading, file: Path, batch: pa.RecordBatch, first: int) -> Iterator[Row]:
    """The rows of a batch that begins with row `first`; bad ones are refused."""
    for start in range(0, len(batch), BATCH):
        yield from _of_slice(reading, file, batch.slice(start, BATCH), first + start)


def _of_slice(reading: Reading, file: Path, batch: pa.RecordBatch, first: int) -> Iterator[Row]:
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        rows = []  # some value is none of Python's: the rows one by one say which
    if rows:
        yield from enumerate(rows, first)
        return
    for number in range(len(batch)):
        try:
            (record,) = batch.slice(number, 1).to_pylist()
        except (ValueError, OverflowError) as error:
            reading.refuse(f"{file}:{first + number}", f"cannot be read ({error})")
            continue
        yield first + number, record
