"""Pair files: JSON lines of `{"uid", "lang", "query", "passage"}`, plain or gzip-compressed.

A uid says which pairs say the same thing in several languages; files read together share uids.
"""

import glob
import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from hybrid_dist.errors import UserError

LANGUAGE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")


class Pair(NamedTuple):
    """One question and its passage in one language."""

    uid: str
    lang: str
    query: str
    passage: str


def read_pairs(patterns: Sequence[str]) -> pa.Table:
    """All pairs of the files, sorted by language and uid; a pair given twice is kept once."""
    seen: dict[tuple[str, str], tuple[Pair, str]] = {}
    for file in expand(patterns):
        for line, pair in _read_file(file):
            place = f"{file}:{line}"
            first, first_place = seen.setdefault((pair.lang, pair.uid), (pair, place))
            if first != pair:
                raise UserError(
                    f"{place}: uid {pair.uid!r} has other text in language {pair.lang!r} than at "
                    f"{first_place}; give different pairs different uids"
                )
    if not seen:
        raise UserError(f"{', '.join(patterns)}: no pair in these files")
    ordered = [seen[key][0] for key in sorted(seen)]
    columns = zip(Pair._fields, zip(*ordered, strict=True), strict=True)
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns})


def expand(patterns: Sequence[str]) -> list[Path]:
    """The files that paths and globs name, each once, in a fixed order."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute ones too
        if not found:
            what = pattern or "an empty path"
            raise UserError(f"{what}: no such file; a pair file has one JSON object a line")
        for name in found:
            if Path(name).is_dir():
                raise UserError(f"{name}: is a folder; name its pair files, as in {name}/*.jsonl")
            files[Path(name)] = None
    return list(files)


def _read_file(file: Path) -> Iterator[tuple[int, Pair]]:
    """Line numbers and pairs of one file."""
    number = 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parse(line, f"{file}:{number}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{file}:{number + 1}: broken gzip file ({error}); copy it again") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None


def _parse(line: bytes, place: str) -> Pair:
    try:
        record = json.loads(line)
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: not JSON ({error.msg} at column {error.colno}); a pair file has one object "
            f"a line, with {', '.join(Pair._fields)}"
        ) from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: expected an object with {', '.join(Pair._fields)}")
    return Pair(*(_field(record, name, place) for name in Pair._fields))


def _field(record: dict[str, object], name: str, place: str) -> str:
    value = record.get(name)
    if name == "uid" and type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        found = (
            f"found {value!r}" if name in record else f"found only {', '.join(record) or 'nothing'}"
        )
        raise UserError(f"{place}: expected a non-empty text as {name!r}, {found}")
    if name == "lang" and not LANGUAGE.fullmatch(value):
        raise UserError(f"{place}: {value!r} is no language code; expected one such as en or pt-BR")
    return unicodedata.normalize("NFC", value)
