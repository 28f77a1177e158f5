"""Small readings of docs/data.md that share no code with the product, to hold its results to.

They say what a good file holds, or raise Doubt: then the product should have refused.
"""

import gzip
import json
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.data.languages import canonical

Rows = list[tuple[str, str, str, str, tuple[str, ...]]]
"""Language, uid, query, passage, negatives; sorted."""


class Doubt(Exception):
    """What should not have been accepted: the rule, and what breaks it."""

    def __init__(self, rule: str, detail: object = "") -> None:
        super().__init__(f"{rule}: {detail!a}"[:300])


def content(file: Path) -> bytes:
    """The bytes of a file, unpacked."""
    try:
        if not file.stat().st_mode & 0o400:
            raise Doubt("a file may not be read", file.name)
        raw = file.read_bytes()
        if raw and file.suffix == ".gz":
            raw = gzip.decompress(raw)
        if raw and file.suffix == ".zst":
            raw = bytes(pa.CompressedInputStream(pa.py_buffer(raw), "zstd").read())
    except (OSError, EOFError, zlib.error) as error:
        raise Doubt("a file cannot be read or unpacked", f"{file.name}: {error}") from None
    if not raw:
        raise Doubt("a file is empty", file.name)
    return raw


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    yield from enumerate(content(file).split(b"\n"), 1)


def pair_rows(files: Iterable[Path]) -> Rows:
    """The pairs of JSON lines and Parquet files that share uids."""
    pairs: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = {}
    for file in files:
        read = _parquet if file.suffix == ".parquet" else _json_lines
        for where, record in read(file):
            lang, uid, query, passage, wrong = _pair(record, where)
            texts = query, passage, wrong
            if pairs.setdefault((lang, uid), texts) != texts:
                raise Doubt("a uid has two pairs in a language", f"{where} {uid} {lang}")
    if not pairs:
        raise Doubt("there is no pair")
    return sorted((*key, *rest) for key, rest in pairs.items())


def _json_lines(file: Path) -> Iterator[tuple[str, Any]]:
    for number, line in lines(file):
        where = f"{file.name}:{number}"
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise Doubt("a line is not UTF-8", where) from None
        text = text.removeprefix("\ufeff") if number == 1 else text
        if not text.strip(" \t\r\v\f"):
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Doubt("a line is no JSON", f"{where} {error}") from None
        yield where, record


def _parquet(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        if not file.is_file() or not file.stat().st_mode & 0o400:
            raise Doubt("a file may not be read", file.name)
        table = pq.read_table(file)
        rows = table.to_pylist()
    except Exception as error:
        raise Doubt("a file is no Parquet", f"{file.name}: {error}") from None
    if len(set(table.column_names)) < table.num_columns:
        raise Doubt("a column comes twice", file.name)
    if not {"uid", "lang", "query", "passage"}.issubset(table.column_names):
        raise Doubt("a column is missing", file.name)
    yield from ((f"{file.name}:{number}", row) for number, row in enumerate(rows, 1))


def _pair(record: Any, where: str) -> tuple[str, str, str, str, tuple[str, ...]]:
    if not isinstance(record, dict):
        raise Doubt("a line is no object", where)
    uid = record.get("uid")
    uid = str(uid) if type(uid) is int else text(uid, where)
    query, passage = text(record.get("query"), where), text(record.get("passage"), where)
    negatives = record.get("negatives")
    if negatives is not None and not isinstance(negatives, list):
        raise Doubt("negatives are no list", where)
    wrong = tuple(text(one, where) for one in negatives or ())
    return language(record.get("lang"), where), nfc(uid), query, passage, wrong


def text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Doubt("a field is no text", f"{where} {value!a}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Doubt("half a letter is no text", where) from None
    return nfc(value)


def nfc(value: str) -> str:
    return unicodedata.normalize("NFC", value)


def language(code: Any, where: str) -> str:
    """The names of languages are a table of their own, which its unit tests hold."""
    try:
        return canonical(text(code, where) and code)
    except ValueError as error:
        raise Doubt("a language is none", f"{where} {error}") from None


def judgements(file: Path) -> dict[str, dict[str, int]]:
    """BEIR's or TREC's lines: grades by query and document."""
    judgements: dict[str, dict[str, int]] = {}
    for number, line in lines(file):
        where = f"{file.name}:{number}"
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise Doubt("a line is not UTF-8", where) from None
        text = text.removeprefix("\ufeff") if number == 1 else text
        if not text:
            continue
        cells = text.split("\t") if "\t" in text else text.split()
        if len(cells) == 4:
            del cells[1]
        if [cell.replace("_", "-") for cell in cells] == ["query-id", "corpus-id", "score"]:
            continue
        try:
            query, document, grade = cells
            judged = judgements.setdefault(nfc(query), {})
            if judged.setdefault(nfc(document), int(grade)) != int(grade):
                raise Doubt("a document is judged twice", where)
        except ValueError:
            raise Doubt("a line is no judgement", f"{where} {text!a}") from None
    return judgements


def right_answers(
    judged: Mapping[str, Mapping[str, int]], documents: Sequence[str], queries: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Of every query that has any: its right documents and their grades."""
    right = {q: {d: g for d, g in grades.items() if g > 0} for q, grades in judged.items()}
    right = {query: grades for query, grades in right.items() if grades}
    for query, grades in right.items():
        if query not in queries:
            raise Doubt("a judged query is not there", query)
        for document in grades:
            if document not in documents:
                raise Doubt("a right document is not there", document)
    if not right:
        raise Doubt("qrels of a language have no right answer")
    return right
