"""Which report may take the place of another: that of the same evaluation, run again."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.report_files import report_files_in
from hybrid_dist.runtime.files import restore_folder
from hybrid_dist.tracking.report_file import MADE_FROM, REPORT, read_report

OTHERWISE = "choose another --out, or replace it with --overwrite"


def check_place(folder: Path, made_from: Mapping[str, Any] | None) -> None:
    """Refuse a place that no report can be written to, or that holds the report of another model,
    task or option; without `made_from` any report may be replaced.

    The same evaluation may replace its own report: a job that was requeued starts the same command.
    """
    restore_folder(folder)
    _check_writable(folder)
    found = report_files_in(folder)
    if made_from is None or not found:
        return
    if REPORT not in found:
        raise UserError(
            f"{folder}: holds {', '.join(found)}, but no {REPORT} that says where that comes from; "
            f"{OTHERWISE}"
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
        f"{key} was {_told(recorded.get(key))}, is {_told(made_from.get(key))}"
        for key in dict.fromkeys([*recorded, *made_from])
        if recorded.get(key) != made_from.get(key)
    ]
    if changed:
        raise UserError(
            f"{folder}: holds the report of another evaluation ({'; '.join(changed)}); {OTHERWISE}"
        )


def _check_writable(folder: Path) -> None:
    """Refuse, before hours of work, a place where no folder can be made."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and a report is a folder; move it away")
    above = next(place for place in folder.absolute().parents if place.exists())
    if not above.is_dir():
        raise UserError(f"{folder}: cannot write the report ({above} is a file, not a folder)")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot write the report (no permission to write in {above})")


def of_task(task: Task) -> dict[str, str]:
    """What says which task it is: its name, path and options, its ids, queries and qrels."""
    digest = hashlib.sha256()
    for texts in (task.query_ids, task.query_texts, task.passage_ids):
        digest.update(hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).digest())
    for numbers in (task.relevant_starts, task.relevant, task.grades, task.passage_language):
        digest.update(hashlib.sha256(numbers.tobytes()).digest())
    return {"task": task.spec, "content of the task": digest.hexdigest()[:16]}


def of_path(path: Path) -> dict[str, str]:
    """What says which file or folder of files it is: path, sizes and times of change."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.is_file()]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return {
        "path": str(path.resolve()),
        "files": hashlib.sha256(repr(stats).encode()).hexdigest()[:16],
    }


def _told(value: Any) -> str:
    return "not recorded" if value is None else repr(value)[:80]
