"""Atomic writes and guarded reads: a reader finds the old content or the new, never half of it."""

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from hybrid_dist.errors import UserError

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_file(file: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """A handle whose content becomes `file` when the block ends; an error leaves nothing behind.

    `durable`: wait until the content and its new name are on the disk.
    """
    draft = file.with_name(f".{file.name}.{uuid4().hex[:8]}.part")
    try:
        with draft.open("wb") as out:
            yield out
            out.flush()
            if durable:
                os.fsync(out.fileno())
        draft.replace(file)
        if durable:
            sync_folder(file.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(file: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a whole file: a kill or a full disk leaves the old content, and no draft."""
    with atomic_file(file, durable) as out:
        out.write(content.encode("utf-8") if isinstance(content, str) else content)


def write_together(folder: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Replace several files of a folder: none is touched before all are on the disk.

    None as the content removes a file.
    """
    drafts = {name: folder / f".{name}.{uuid4().hex[:8]}.part" for name in files}
    try:
        for name, content in files.items():
            if content is not None:
                data = content.encode("utf-8") if isinstance(content, str) else content
                drafts[name].write_bytes(data)
                sync_file(drafts[name])
        for name, content in files.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            else:
                drafts[name].replace(folder / name)
        sync_folder(folder)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` when the block ends.

    An error leaves the old folder as it was. A kill between the two renames of the swap leaves the
    old one as `.NAME.before` and the new one whole; the next call puts the old one back first.
    """
    folder = folder.resolve()
    before = restore_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.part")
    draft.mkdir()
    try:
        yield draft
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            folder.rename(before)
        draft.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def restore_folder(folder: Path) -> Path:
    """Put back the old folder where a kill stopped a swap; where a swap keeps the old one."""
    folder = folder.resolve()
    before = folder.with_name(f".{folder.name}.before")
    if before.exists() and not folder.exists():
        before.rename(folder)
    return before


def sync_file(file: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def apply_umask(files: Iterable[Path]) -> None:
    """Give files that a library wrote for their owner alone the mode of any new file there.

    A new file beside the first one shows that mode: asking for the umask means setting it, for all
    threads, and a folder's default ACL takes its place.
    """
    mode = None
    for file in files:
        if mode is None:
            probe = file.with_name(f".{uuid4().hex[:8]}.part")
            probe.touch()
            mode = stat.S_IMODE(probe.stat().st_mode)
            probe.unlink()
        file.chmod(mode)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it
            os.fsync(handle)
    finally:
        os.close(handle)


def read_json(file: Path, what: str = "a JSON file") -> Any:
    """The content of a JSON file; refuses what cannot be read, naming the file and the place.

    `what`: what the file should be, for the message.
    """
    try:
        return json.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is not {what} ({json_problem(error)})") from None


def json_problem(error: Exception) -> str:
    """Why a JSON text could not be parsed, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[0].lower()}{error.msg[1:]}, line {error.lineno} column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8, byte {error.start}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).split(";")[0]  # such as "Exceeds the limit (4300 digits) for ..."
