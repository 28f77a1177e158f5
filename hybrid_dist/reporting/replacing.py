"""Which report may replace another: only that of the same evaluation, run again."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.per_query import FILE as SCORES
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.report_folder import report_files_in
from hybrid_dist.runtime.files import restore_folder
from hybrid_dist.tracking.report_json import MADE_FROM, REPORT, read_report

BLOCK = 1 << 14
"""Texts that are hashed at once."""
OTHERWISE = "choose another --out, or replace it with --overwrite"


def check_place(folder: Path, made_from: Mapping[str, Any] | None) -> None:
    """Refuse a folder that cannot be written, or that holds the report of another evaluation.

    An evaluation may replace its own report, since a requeued job runs the same command again.
    `made_from` identifies it; None allows any report to be replaced.
    """
    restore_folder(folder)
    _check_writable(folder)
    files = report_files_in(folder)
    if made_from is None or not files:
        return
    if REPORT not in files:
        raise UserError(
            f"{folder}: holds {', '.join(files)}, but no {REPORT} that identifies their "
            f"evaluation; {OTHERWISE}"
        )
    try:
        old = read_report(folder / REPORT)
    except UserError as error:
        raise UserError(f"{folder}: holds a damaged report ({error}); {OTHERWISE}") from None
    recorded = old.get(MADE_FROM)
    if not isinstance(recorded, dict) or not recorded:
        raise UserError(
            f"{folder}: holds a report of {old['model']} that another command wrote; {OTHERWISE}"
        )
    changed = [
        f"{key} was {_shown(recorded.get(key))}, is {_shown(made_from.get(key))}"
        for key in dict.fromkeys([*recorded, *made_from])
        if recorded.get(key) != made_from.get(key)
    ]
    if changed:
        raise UserError(
            f"{folder}: holds the report of another evaluation ({'; '.join(changed)}); {OTHERWISE}"
        )


def is_complete(folder: Path, made_from: Mapping[str, Any]) -> bool:
    """Whether a folder has the whole report of this evaluation."""
    if not {REPORT, "report.md", "report.html", SCORES} <= set(report_files_in(folder)):
        return False
    try:
        return bool(read_report(folder / REPORT).get(MADE_FROM) == made_from)
    except UserError:
        return False


def _check_writable(folder: Path) -> None:
    """Refuse, before hours of work, a path at which no folder can be created."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, but a report is a folder; move the file away")
    above = next(place for place in folder.absolute().parents if place.exists())
    if not above.is_dir():
        raise UserError(f"{folder}: cannot write the report ({above} is a file, not a folder)")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot write the report (no permission to write in {above})")


def of_task(task: Task) -> dict[str, str]:
    """Identifies a task by its spec and a checksum of its texts, ids, languages and qrels."""
    digest = hashlib.sha256()
    for texts in (task.query_ids, task.query_texts, task.passage_ids, task.passage_texts):
        digest.update(_digest(texts))
    arrays = [task.relevant_starts, task.relevant, task.grades]
    arrays += [task.query_language, task.passage_language]
    for numbers in arrays if task.excluded is None else [*arrays, task.excluded]:
        digest.update(hashlib.sha256(numbers.tobytes()).digest())
    return {"task": task.spec, "content of the task": digest.hexdigest()[:16]}


def _digest(texts: Sequence[str]) -> bytes:
    """A checksum of texts, which may be too many for the memory."""
    digest = hashlib.sha256()
    for first in range(0, len(texts), BLOCK):
        joined = "\0" * (first > 0) + "\0".join(texts[first : first + BLOCK])
        digest.update(joined.encode("utf-8", "surrogatepass"))
    return digest.digest()


def of_path(path: Path) -> dict[str, str]:
    """Identifies a file or a folder of files by path, sizes and modification times."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.is_file()]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return {
        "path": str(path.resolve()),
        "files": hashlib.sha256(repr(stats).encode()).hexdigest()[:16],
    }


def _shown(value: Any) -> str:
    return "not recorded" if value is None else repr(value)[:80]
