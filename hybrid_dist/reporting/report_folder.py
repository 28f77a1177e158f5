"""Replacing a report's files in its folder atomically, and keeping all other files there."""

import glob
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.per_query import FILE as SCORES
from hybrid_dist.runtime.files import atomic_folder, sync_file
from hybrid_dist.tracking.report_json import REPORT

RUN = "run.trec"
PLOTS = ("map_by_pair.png", "language_share.png", "rank_distance.png", "jaccard_by_pair.png")
NAMES = (REPORT, "report.md", "report.html", SCORES, RUN, *PLOTS)
"""The files of a report. Other files in its folder are left alone."""


@contextmanager
def replace_report(folder: Path) -> Iterator[Path]:
    """Yield a draft folder for the files of a report, which then replaces the old report at once.

    If anything fails, the old report stays complete. Files of other names stay in any case.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, but a report is a folder; move the file away")
    try:
        place = folder.resolve()
        for draft in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
            shutil.rmtree(draft, ignore_errors=True)  # left by a process killed while writing
        with atomic_folder(place) as draft:
            yield draft
            for file in draft.iterdir():
                sync_file(file)
            if place.is_dir():
                _keep_others(place, draft)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the report ({error.strerror or error})") from None


def copy_report(source: Path, folder: Path) -> None:
    """Copy the files of a report into another folder, in place of the report there."""
    with replace_report(folder) as draft:
        for name in report_files_in(source):
            shutil.copyfile(source / name, draft / name)


def report_files_in(folder: Path) -> list[str]:
    """The names of the report files in a folder."""
    return [name for name in NAMES if (folder / name).exists()]


def _keep_others(old: Path, new: Path) -> None:
    """Hard-link the files that are not the report's into the new folder."""
    for entry in old.iterdir():
        if entry.name in NAMES:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, new / entry.name, symlinks=True, copy_function=_link)
        else:
            _link(entry, new / entry.name)


def _link(old: str | Path, new: str | Path) -> None:
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(old, new, follow_symlinks=False)


def tag_png(png: bytes, report_id: str) -> bytes:
    """The PNG image with the report's id in its metadata."""
    content = b"tEXt" + b"hybrid_dist report\0" + report_id.encode("ascii")
    chunk = (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
    after_header = 33  # signature and IHDR
    return png[:after_header] + chunk + png[after_header:]
