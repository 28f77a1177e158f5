"""Tables in every format with one mapping: rejected with file and row, or read by the rules."""

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.tables.mapping import mapping_of
from hybrid_dist.data.tables.table_rows import has_columns, read_batches
from hybrid_dist.errors import UserError
from tests.fuzz import reference
from tests.fuzz.reference import Doubt
from tests.fuzz.target import Target, Variants
from tests.fuzz.targets.pairs import held_to, rows_of
from tests.support.published_files import write
from tests.support.table_paths import by_columns_and_by_rows

OPTIONS = {
    "query": "q",
    "passage": r"{title}\n{text}",
    "lang_column": "l",
    "uid_column": "id",
    "where": "s > 0.5",
    "negatives": "no",
}
ROWS: list[dict[str, Any]] = [
    {"id": "1", "l": "en", "q": "who?", "title": "Ada", "text": "She did.", "s": 0.9, "no": None},
    {"id": "1", "l": "de", "q": "wer?", "title": None, "text": "Ada, für J.", "s": 0.8, "no": "x"},
    {"id": "2", "l": "en", "q": "what?", "title": "", "text": "A mill.", "s": 1.5, "no": "Rye."},
    {"id": "3", "l": "zh_CN", "q": "什么？", "title": "磨", "text": "磨坊。", "s": 0.7, "no": "y"},
    {"id": "4", "l": "de", "q": "was?", "title": "R", "text": "Roggen.", "s": 0.1, "no": None},
]  # fmt: skip
TABLE = pa.Table.from_pylist(ROWS)


def _json_lines(folder: Path) -> None:
    for name, some in (("a.jsonl", ROWS[:3]), ("b.jsonl.gz", ROWS[3:])):
        write(folder / name, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in some))


def _lists(folder: Path) -> None:
    some = [row | {"no": [row["text"], "other"]} for row in ROWS]
    write(folder / "a.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in some))


def _cells(folder: Path) -> None:
    for name, some in (("a.csv", ROWS[:3]), ("b.csv.gz", ROWS[3:])):
        out = io.StringIO()
        writer = csv.DictWriter(out, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(some)
        write(folder / name, out.getvalue())


def _parquet(folder: Path) -> None:
    pq.write_table(TABLE, folder / "a.parquet", row_group_size=2)


def _arrow(folder: Path) -> None:
    with pa.ipc.new_file(str(folder / "a.arrow"), TABLE.schema) as out:
        out.write_table(TABLE, 2)


def _stream(folder: Path) -> None:
    with pa.ipc.new_stream(str(folder / "a.arrow"), TABLE.schema) as out:
        out.write_table(TABLE)


class Tables(Target):
    name = "tables"
    variants: ClassVar[Variants] = {
        "json": _json_lines, "lists": _lists, "cells": _cells, "parquet": _parquet,
        "arrow": _arrow, "stream": _stream,
    }  # fmt: skip
    outputs = ("out/store",)

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        for file in sorted(folder.rglob("*.*")):
            if has_columns(file):
                _check_columns_agree(file)
        prepare(SOURCES["table"], [str(folder)], out / "store", Reading(options=OPTIONS))
        return rows_of(Store(out / "store"))

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        return held_to(lambda: _expected(folder), value)

    def refused(self, variant: str, folder: Path, message: str) -> str | None:
        if not re.search(r"\.(jsonl|csv|gz|parquet|arrow)(:\d+)?|no table|no pair|all \d", message):
            return f"a message without a place: {message[:200]}"
        if variant not in ("json", "lists"):
            return None  # the reference is laxer about damage to the formats themselves
        try:
            _expected(folder)
        except (Doubt, OSError):
            return None
        return f"refused, though the rules allow it: {ascii(message)[:300]}"


def _check_columns_agree(file: Path) -> None:
    """Raise an AssertionError if columns give other pairs than the rows of the same batch."""
    mapping = mapping_of(OPTIONS)
    names = dict.fromkeys(column.name for _, column in mapping.columns())
    try:
        for first, batch in read_batches(file, lambda given: [n for n in names if n in given]):
            by_columns, by_rows = by_columns_and_by_rows(mapping, batch, first)
            assert by_columns in (None, by_rows), f"{by_columns!r}\nby rows {by_rows!r}"
    except UserError:
        return  # the file cannot be read, or lacks a column


def _expected(folder: Path) -> reference.Rows:
    """The pairs of the files in a folder, by the rules of docs/data.md."""
    pairs: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = {}
    names = set()
    for file in sorted(folder.rglob("*")):
        if file.is_dir():
            continue
        if file.is_symlink() and not file.exists():
            raise Doubt("a file is a link to nothing", file.name)
        if file.name.removesuffix(".gz") in names:
            raise Doubt("a file is there twice", file.name)
        names.add(file.name.removesuffix(".gz"))
        rows = list(_records(file))
        for column in ("q", "title", "text", "l", "id", "s", "no"):
            if rows and not any(column in row for row in rows):
                raise Doubt("a file lacks a column", column)
        for number, row in enumerate(rows):
            where = f"{file.name}, record {number}"
            for uid, texts in _pairs(row, where) if _kept(row.get("s"), where) else ():
                if pairs.setdefault(uid, texts) != texts:
                    raise Doubt("a uid has two pairs in a language", where)
    if not pairs:
        raise Doubt("there is no pair")
    return sorted((*key, *rest) for key, rest in pairs.items())


def _records(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".parquet":
        yield from pq.read_table(file).to_pylist()
    elif file.suffix == ".arrow":
        raw = file.read_bytes()
        opened = pa.ipc.open_file if raw.startswith(b"ARROW1") else pa.ipc.open_stream
        yield from opened(raw).read_all().to_pylist()
    elif ".csv" in file.name:
        text = reference.content(file).decode().removeprefix("\ufeff").lstrip("\r\n")
        yield from csv.DictReader(io.StringIO(text, newline=""), strict=True)
    else:
        for number, line in reference.lines(file):
            try:
                text = line.decode().removeprefix("\ufeff" if number == 1 else "")
                row = json.loads(text) if text.strip() else None
            except (ValueError, RecursionError):
                raise Doubt("a line is no JSON", number) from None
            if isinstance(row, dict):
                yield row
            elif text.strip():
                raise Doubt("a line is no object", number)


def _kept(score: Any, where: str) -> bool:
    if score is None or score == "":
        return False
    if isinstance(score, bool) or not isinstance(score, int | float | str):
        raise Doubt("a score is no number", where)
    if isinstance(score, str):
        try:
            score = float(score)
        except ValueError:
            raise Doubt("a score is no number", where) from None
    return not math.isnan(score) and score > 0.5


def _pairs(row: dict[str, Any], where: str) -> Iterator[tuple[Any, Any]]:
    """The pair of a row, or one for each element of a list."""
    lists = [name for name in ("q", "title", "text") if isinstance(row.get(name), list)]
    if len(lists) > 1:
        raise Doubt("a row has two lists", where)
    if not lists:
        yield _pair(row, where)
    for number, element in enumerate(row[lists[0]] if lists else ()):
        (lang, uid), texts = _pair({**row, lists[0]: element}, where)
        yield (lang, f"{uid}#{number}"), texts


def _pair(row: dict[str, Any], where: str) -> tuple[Any, Any]:
    number = row.get("id")
    uid = str(number) if type(number) is int else reference.text(number, where)
    parts = [row.get("title"), row.get("text")]
    if not all(part is None or isinstance(part, str) or type(part) is int for part in parts):
        raise Doubt("a part of a passage is no text", where)
    passage = "\n".join("" if part is None else str(part) for part in parts).strip()
    negatives = row.get("no")
    if not isinstance(negatives, list):
        empty = negatives is None or (isinstance(negatives, str) and not negatives.strip())
        negatives = [] if empty else [negatives]
    texts = (
        reference.text(row.get("q"), where),
        reference.text(passage, where),
        tuple(reference.text(one, where) for one in negatives),
    )
    return (reference.language(row.get("l"), where), reference.nfc(uid)), texts
