"""Pair files, as JSON lines and as Parquet: rejected with file and line, or read correctly."""

import gzip
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from tests.fuzz import reference
from tests.fuzz.target import Target, Variants

ROWS: list[dict[str, Any]] = [
    {"uid": "u1", "lang": "en", "query": "who wrote it?", "passage": "Ada did."},
    {"uid": "u1", "lang": "de", "query": "wer schrieb es?", "passage": "Ada, für Jörg."},
    {"uid": "u2", "lang": "en", "query": "what grinds?", "passage": "A mill.",
     "negatives": ["Rye grows.", "Ada did."]},
    {"uid": "u2", "lang": "zh_CN", "query": "什么磨？", "passage": "磨坊。", "negatives": []},
    {"uid": "u3", "lang": "de", "query": "was wächst?", "passage": "Roggen."},
]  # fmt: skip


def json_lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _plain(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(json_lines(*ROWS))


def _packed(folder: Path) -> None:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(json_lines(*ROWS[:3]), mtime=0))
    packed = pa.compress(json_lines(*ROWS[3:]), codec="zstd", asbytes=True)
    (folder / "b.jsonl.zst").write_bytes(packed)


def _numbers(folder: Path) -> None:
    rows = [{**row, "uid": int(row["uid"][1:])} for row in ROWS]
    (folder / "a.jsonl").write_bytes(json_lines(*rows[:2]))
    (folder / "b.jsonl").write_bytes(json_lines(*rows[2:]))


def _table(folder: Path) -> None:
    schema = pa.schema([(name, pa.string()) for name in ("uid", "lang", "query", "passage")])
    schema = schema.append(pa.field("negatives", pa.list_(pa.string())))
    pq.write_table(pa.Table.from_pylist(ROWS, schema), folder / "a.parquet")


def _numbered_table(folder: Path) -> None:
    rows = [{**row, "uid": int(row["uid"][1:])} for row in ROWS]
    for row in rows:
        row.pop("negatives", None)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.slice(0, 3), folder / "a.parquet", row_group_size=2)
    pq.write_table(table.slice(3), folder / "b.parquet", compression="zstd")


def rows_of(store: Store) -> reference.Rows:
    """All that a store gives of its pairs."""
    index, rows = store.index, np.arange(store.index.num_rows)
    starts = index.negative_starts.tolist()
    wrong = store.passage_texts(np.asarray(index.negatives))
    negatives = [tuple(wrong[a:b]) for a, b in pairwise(starts)]
    langs = [index.languages[number] for number in index.row_language]
    columns = store.uids(rows), store.queries(rows), store.passages(rows)
    found = zip(langs, *columns, negatives, strict=True)
    return sorted(found)


class Pairs(Target):
    name = "pairs"
    variants: ClassVar[Variants] = {"plain": _plain, "packed": _packed, "numbers": _numbers}
    outputs = ("out/store",)
    place = r"\.(jsonl|gz|zst|parquet)(:\d+)?|no pair|no such file"

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        files = f"{folder}/*.*"
        if sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) % 4:
            return rows_of(Store.open(files))
        prepare(SOURCES["pairs"], [files], out / "store", Reading())
        return rows_of(Store(out / "store"))

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        files = [path for path in sorted(folder.iterdir()) if path.exists() or path.is_symlink()]
        return held_to(lambda: reference.pair_rows(files), value)

    def refused(self, variant: str, folder: Path, message: str) -> str | None:
        if not re.search(self.place, message):
            return f"a message without a place: {message[:200]}"
        if re.search(r": column '\w*' holds ", message):
            return None  # whatever its rows hold
        if "codec can't decode" in message:
            return None  # a name in the footer, which the reference does not look at
        try:
            reference.pair_rows(sorted(folder.iterdir()))
        except (reference.Doubt, OSError):
            return None
        return f"refused, though the rules allow it: {ascii(message)[:300]}"


class Parquet(Pairs):
    name = "parquet"
    variants: ClassVar[Variants] = {"table": _table, "numbers": _numbered_table}


def held_to(read: Any, value: Any) -> str | None:
    """What is wrong with an accepted result beside the reference's."""
    try:
        expected = read()
    except (reference.Doubt, OSError) as doubt:
        return f"accepted, though {doubt}\nread as {value!r}"
    if value == expected:
        return None
    return f"read otherwise than by the rules\n{value!r}\nexpected {expected!r}"
