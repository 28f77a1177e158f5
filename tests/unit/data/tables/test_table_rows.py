"""Rows of every format: their numbers, the columns that are read, and damage."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.tables.table_rows import BATCH, CellFormat, Row, read_rows
from hybrid_dist.errors import UserError
from tests.support.published_files import json_lines, write

ROWS: list[dict[str, Any]] = [{"a": f"a{n}", "b": f"b{n}", "c": f"c{n}"} for n in range(3000)]
TABLE = pa.Table.from_pylist(ROWS)


def cells_of(separator: str) -> str:
    return "".join(f"{separator.join(row)}\n" for row in [["a", "b", "c"], *map(dict.values, ROWS)])


def arrow_file(file: Path) -> None:
    with pa.ipc.new_file(str(file), TABLE.schema) as out:
        out.write_table(TABLE, 700)


def arrow_stream(file: Path) -> None:
    with pa.ipc.new_stream(str(file), TABLE.schema) as out:
        out.write_table(TABLE, 700)


WRITE: dict[str, Callable[[Path], Any]] = {
    "a.jsonl": lambda file: json_lines(file, *ROWS),
    "a.jsonl.gz": lambda file: json_lines(file, *ROWS),
    "a.ndjson.zst": lambda file: json_lines(file, *ROWS),
    "a.parquet": lambda file: pq.write_table(TABLE, file, row_group_size=700),
    "a.csv": lambda file: write(file, cells_of(",")),
    "a.tsv.gz": lambda file: write(file, cells_of("\t")),
    "a.arrow": arrow_file,
    "b.arrow": arrow_stream,
    "a.feather": lambda file: pyarrow.feather.write_feather(TABLE, file),
}


def read(file: Path, *columns: str, skip_bad: int = 0, **cells: Any) -> list[Row]:
    reading = Reading(skip_bad=skip_bad)
    return list(read_rows(reading, file, CellFormat(**cells), lambda names: list(columns or names)))


@pytest.mark.parametrize("name", WRITE)
def test_every_format_has_the_same_rows(tmp_path: Path, name: str) -> None:
    WRITE[name](tmp_path / name)
    first = 2 if ".csv" in name or ".tsv" in name else 1
    assert read(tmp_path / name) == list(enumerate(ROWS, first))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "b.arrow"])
def test_other_columns_are_not_read(tmp_path: Path, name: str) -> None:
    WRITE[name](tmp_path / name)
    assert read(tmp_path / name, "c", "a")[-1] == (3000, {"a": "a2999", "c": "c2999"})


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl", "a.csv"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    """Of 40 MB of text, little is held at once."""
    text = "x" * 2000
    table = pa.table({"a": [f"{text}{n}" for n in range(20_000)]})
    file = tmp_path / name
    if name == "a.parquet":
        pq.write_table(table, file, row_group_size=1000, use_dictionary=False)
    elif name == "a.arrow":
        with pa.ipc.new_file(str(file), table.schema) as out:
            out.write_table(table, 1000)
    elif name == "a.jsonl":
        json_lines(file, *table.to_pylist())
    else:
        write(file, "a\n" + "".join(f"{one}\n" for one in table["a"].to_pylist()))
    del table
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for _, row in read_rows(Reading(), file, CellFormat(), list):
        count += len(row)
        if count % BATCH == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert count == 20_000
    assert most < 12_000_000


def test_cells_may_be_quoted_and_span_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", '\ufeffa,b\r\n"x, ""y""","1\r\n2"\r\n\r\nz,"é"\r\n')
    assert read(file) == [(2, {"a": 'x, "y"', "b": "1\n2"}), (5, {"a": "z", "b": "é"})]


def test_quotes_may_be_text(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", 'a\tb\n"Who" asked\t5" long\n')
    with pytest.raises(UserError, match=r"a.tsv:2: cannot be read as cells \(.*quotes=no"):
        read(file)
    assert read(file, quotes=False) == [(2, {"a": '"Who" asked', "b": '5" long'})]


@pytest.mark.parametrize("content", ["a,b\r1,2\r3,4\r", "a,b\n1\r2,3\n"])
def test_lines_that_end_with_cr_alone_are_named(tmp_path: Path, content: str) -> None:
    file = write(tmp_path / "a.csv", content)
    with pytest.raises(UserError) as refusal:
        read(file)
    number = 1 if content.startswith("a,b\r") else 2
    assert str(refusal.value) == (
        f"{file}:{number}: cannot be read as cells (a CR inside of a line); end lines with LF or "
        "CR LF"
    )


def test_an_open_quote_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'a,b\n1,2\n3,"4\n5,6\n')
    with pytest.raises(UserError, match=r"a.csv:3: cannot be read as cells \(unexpected end"):
        read(file, skip_bad=9)


def test_columns_and_the_delimiter_may_be_given(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "1;2\n3;4\n")
    rows = read(file, columns=("q", "p"), delimiter=";")
    assert rows == [(1, {"q": "1", "p": "2"}), (2, {"q": "3", "p": "4"})]


def test_a_row_of_other_cells_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "a,b\n1,2\n1,2,3\n4,5\n")
    with pytest.raises(UserError, match=r"a.csv:3: expected 2 cells \(a, b\), found 3"):
        read(file)
    assert [number for number, _ in read(file, skip_bad=1)] == [2, 4]


BROKEN: dict[str, tuple[bytes, str]] = {
    "a.parquet": (b"PAR1 no", "not a readable Parquet file"),
    "a.arrow": (b"ARROW1 no", "not a readable Arrow file"),
    "b.arrow": (b"no stream", "not a readable Arrow file"),
    "c.arrow": (b"", "is empty"),
    "d.parquet": (b"", "not a readable Parquet file"),
    "a.csv": (b"", "is empty"),
    "a.jsonl": (b"", "is empty"),
    "b.jsonl": (b'{"a": 1\n', r"b.jsonl:1: not JSON"),
    "b.csv": (b"a,b\n1,\xe9\n", r"b.csv:2: not UTF-8"),
    "c.csv": (b"a,a\n1,2\n", "column 'a' comes 2 times"),
    "a.jsonl.gz": (gzip.compress(b"{}\n")[:-3], "broken file"),
    "a.parquet.gz": (gzip.compress(b"PAR1"), "unpack it first"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "b.arrow"])
def test_a_file_cut_short_is_named(tmp_path: Path, name: str) -> None:
    WRITE[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for kept in (len(content) - 20, len(content) // 2):
        (tmp_path / name).write_bytes(content[:kept])
        with pytest.raises(UserError, match=rf"{name}: not a readable"):
            read(tmp_path / name)


def test_a_row_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Parquet's texts are not checked when they are written."""
    raw = pa.array([b"good", b"\xff", b"good too"])
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"a": texts}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet:2: cannot be read \(.*utf-8"):
        read(tmp_path / "a.parquet")
    assert [number for number, _ in read(tmp_path / "a.parquet", skip_bad=1)] == [1, 3]
