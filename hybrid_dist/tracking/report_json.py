"""report.json, read back: whole, of the expected shape, and as it was written.

Whatever reads a report reads it here: `compare`, the feed of W&B, the check before one is replaced.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import read_json

REPORT = "report.json"
FORMAT, VERSION = "format", 2
"""The key of report.json that says its version, and the version that is written."""
KEYS_BEFORE_2 = {"questions": "queries", "question": "query"}
"""Keys of version 1, wherever they stand, and what they are called now; it has no `format`."""
MADE_FROM = "made_from"
"""Where report.json says what it was made from: model, task and options."""
NOT_IN_ID = ("id", "timing")
SETTINGS = ("monolingual", "cross_lingual", "multilingual")
TEXT, COUNT = "a text", "a whole number"
SHARE, FIGURE = "a number from 0 to 1, or null", "a number of 0 or more, or null"
AGAIN = "evaluate the run again"


def report_id(report: Mapping[str, Any]) -> str:
    """The id of a report: a checksum of all its results, timing excluded."""
    content = {key: value for key, value in report.items() if key not in NOT_IN_ID}
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_report(file: Path) -> dict[str, Any]:
    """The content of a report.json; refuses one that is damaged, naming the file and the key."""
    report = read_json(file, "a report")
    if not isinstance(report, dict):
        raise UserError(f"{file}: is not a report ({_shown(report)}, not an object); {AGAIN}")
    version = report.get(FORMAT, 1)
    if version not in (1, VERSION):
        raise UserError(
            f"{file}: is a report of format {_shown(version)}, this program reads 1 and {VERSION}; "
            f"{AGAIN}"
        )
    current = report if version == VERSION else _with_current_keys(report)
    for key, value, expected in _expected(file, current):
        if not _fits(value, expected):
            raise UserError(f"{file}: {key} is {_shown(value)}, not {expected}; {AGAIN}")
    if report["id"] != report_id(report):
        raise UserError(
            f"{file}: was changed after it was written (its content does not give its id, "
            f"{report['id'][:40]!r}); {AGAIN}"
        )
    return current


def _with_current_keys(thing: Any) -> Any:
    """A report of version 1, or a part of one, under the keys of this version."""
    if isinstance(thing, dict):
        return {
            KEYS_BEFORE_2.get(key, key): _with_current_keys(value) for key, value in thing.items()
        }
    return [_with_current_keys(value) for value in thing] if isinstance(thing, list) else thing


def is_evaluation_report(file: Path) -> bool:
    """Whether a file is, or was, the report of an evaluation and not of a comparison."""
    try:
        content = read_json(file, "a report")
    except UserError:
        return False
    return isinstance(content, dict) and MADE_FROM in content


def _expected(file: Path, report: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Keys that readers use, their values, and what those have to be."""

    def at(*path: str) -> Any:
        thing: Any = report
        for depth, key in enumerate(path):
            if not isinstance(thing, dict):
                where = ".".join(path[:depth])
                raise UserError(f"{file}: {where} is {_shown(thing)}, not an object; {AGAIN}")
            if key not in thing:
                raise UserError(f"{file}: has no {'.'.join(path[: depth + 1])}; {AGAIN}")
            thing = thing[key]
        return thing

    def rows(*path: str) -> Iterator[tuple[str, ...]]:
        row = at(*path)
        if not isinstance(row, dict):
            raise UserError(f"{file}: {'.'.join(path)} is {_shown(row)}, not an object; {AGAIN}")
        yield from ((*path, name) for name in row)

    paths: list[tuple[tuple[str, ...], str]] = [((key,), TEXT) for key in ("id", "task", "model")]
    paths += [(("counts", key), COUNT) for key in ("queries", "passages")]
    for row in rows("counts", "by_language"):
        paths += [((*row, key), COUNT) for key in ("queries", "passages")]
    paths += [(("map", key), SHARE) for key in SETTINGS]
    paths += [(("bias", "rank_distance", "mean"), FIGURE)]
    paths += [(row, SHARE) for row in rows("map_by_language")]
    paths += [(cell, SHARE) for row in rows("map_by_pair") for cell in rows(*row)]
    paths += [(row, "[low, high]") for row in rows("intervals")]
    for path, expected in paths:
        yield ".".join(path), at(*path), expected


def _fits(value: Any, expected: str) -> bool:
    if expected == TEXT:
        return isinstance(value, str)
    if expected == COUNT:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
    if expected == "[low, high]":
        return isinstance(value, list) and len(value) == 2 and all(map(_number, value))
    if value is None:
        return True
    return _number(value) and 0 <= value <= (1 if expected == SHARE else 1 << 53)


def _number(value: Any) -> bool:
    """A number that any figure may be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1 << 53 if isinstance(value, int) else math.isfinite(value)


def _shown(value: Any) -> str:
    """A value for a message."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    return "null" if value is None else json.dumps(value)[:40]
