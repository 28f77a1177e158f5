"""Atomic writes and checked reads: a reader sees either the old content or the new content."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from hybrid_dist.errors import DiskFullError, UserError, file_error, file_of

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)
"""What file systems without locks answer: Lustre without its option, NFS without a lock server."""
OTHER_TMPDIR = "make room there, or set TMPDIR to a folder on another disk"
"""Advice for when temporary files do not fit on the disk."""


class DiskError(UserError, OSError):
    """A path that could not be written, the reason, and the space it needs."""

    def __init__(self, message: str, number: int, place: Path) -> None:
        super().__init__(message)
        self.errno, self.strerror, self.filename = number, os.strerror(number), str(place)

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def writing(
    place: Path, draft: Path | None = None, needed: int | None = None, cure: str = ""
) -> Iterator[None]:
    """Turn file system errors of this block into one DiskError about `place`.

    `draft`: a temporary file or folder that is removed on failure. `needed`: total bytes needed, if
    known or estimated. `cure`: advice for a full disk. Of nested blocks, the outermost one around
    the file reports the error: it knows the path that the user gave.
    """
    try:
        yield
    except Exception as error:
        number, file = file_error(error), file_of(error)
        is_reported = isinstance(error, DiskError) and file == str(place)
        elsewhere = file is not None and not _belongs(Path(file), place, draft)
        if number is None or is_reported or elsewhere:  # such as an input that cannot be read
            raise
        problem = f"{place}: cannot be written: {os.strerror(number)}"
        if number in DISK_IS_FULL:
            problem += f" ({_room(number, place, draft, needed)})"
            problem += f"; {cure or 'make room there, or name a place on another disk'}"
        raise DiskError(problem, number, place) from None


def failed_write(message: str, problem: str) -> UserError:
    """The error about something that could not be written, from the text of the system's error."""
    full = any(os.strerror(number) in problem for number in DISK_IS_FULL)
    return DiskFullError(message) if full else UserError(message)


def _belongs(file: Path, place: Path, draft: Path | None) -> bool:
    """Whether a file is the place or the draft, lies inside one, or is a folder above the place."""
    file, place = file.absolute(), place.absolute()
    drafted = draft is not None and file.is_relative_to(draft.absolute())
    return drafted or file.is_relative_to(place) or place.is_relative_to(file)


def _room(number: int, place: Path, draft: Path | None, needed: int | None) -> str:
    """Space needed and space available; the draft's share becomes free when it is removed."""
    drafted = 0 if draft is None else allocated(draft)
    if needed is None or needed <= drafted:
        needs = f"more than {bytes_of(drafted)} needed"
    else:
        needs = f"about {bytes_of(needed)} needed"
    if number == errno.EFBIG:
        return f"{needs}; see ulimit -f and the file size limit of this file system"
    if number == errno.EDQUOT:
        return f"{needs}; your quota there is used up"
    disk = _disk(place)
    if disk.f_files and not disk.f_favail:
        return f"{needs}; no more files can be created there because its inodes are used up"
    return f"{needs}, {bytes_of(disk.f_bavail * disk.f_frsize + drafted)} free"


def check_room(place: Path, needed: int, cure: str = "") -> None:
    """Refuse before writing if the disk has less space than is certainly needed."""
    disk = _disk(place)
    if disk.f_blocks and needed > disk.f_bavail * disk.f_frsize:  # 0: unknown
        with writing(place, needed=needed, cure=cure):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _disk(place: Path) -> os.statvfs_result:
    there = place.absolute()
    while not there.exists():
        there = there.parent
    return os.statvfs(there)


def allocated(path: Path) -> int:
    """Bytes that a file or a whole folder occupies on disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += 512 * file.lstat().st_blocks
    return total


def bytes_of(number: int) -> str:
    """A human-readable number of bytes, rounded up."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{-(-number * 10 // size) / 10:,.1f} {unit}"
    return f"{number} bytes"


@contextmanager
def atomic_file(file: Path, durable: bool = True, needed: int | None = None) -> Iterator[IO[bytes]]:
    """A handle whose content becomes `file` when the block ends; an error leaves nothing behind.

    `durable`: wait until the content and the new name are on disk. `needed`: the size, if known,
    for the message about a full disk.
    """
    draft = file.with_name(f".{file.name}.{uuid4().hex[:8]}.part")
    try:
        with writing(file, draft, needed):
            with draft.open("wb") as out:
                yield out
                out.flush()
                if durable:
                    os.fsync(out.fileno())
            draft.replace(file)
            if durable:
                sync_folder(file.parent)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_atomically(file: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file at once: a kill or a full disk leaves the old content in place."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_file(file, durable, len(data)) as out:
        out.write(data)


def write_together(folder: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Replace several files of a folder; none is replaced before all new ones are on disk.

    A content of None removes the file.
    """
    drafts = {name: folder / f".{name}.{uuid4().hex[:8]}.part" for name in files}
    data = {
        name: content.encode("utf-8") if isinstance(content, str) else content
        for name, content in files.items()
    }
    try:
        with writing(folder, needed=sum(len(content or b"") for content in data.values())):
            for name, content in data.items():
                if content is not None:
                    drafts[name].write_bytes(content)
                    sync_file(drafts[name])
            for name, content in data.items():
                if content is None:
                    (folder / name).unlink(missing_ok=True)
                else:
                    drafts[name].replace(folder / name)
            sync_folder(folder)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    folder: Path, needed: int | None = None, replace: bool = True, cure: str = ""
) -> Iterator[Path]:
    """An empty folder to fill; it replaces `folder` when the block ends.

    An error leaves the old folder untouched. A kill between the two renames of the swap leaves the
    old folder as `.NAME.before` beside the complete new one; the next call restores the old one.
    `needed`: bytes of the new folder, if known or estimated. `replace`: if False, raise an OSError
    when the folder exists by then and is not empty. `cure`: see `writing`.
    """
    folder = folder.resolve()
    draft = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.part")
    with made_parents(folder):
        try:
            with writing(folder, draft, needed, cure):
                restore_folder(folder)
                draft.mkdir()
                yield draft
                _swap_in(draft, folder, replace)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(restore_folder(folder), ignore_errors=True)


def check_new_folder(folder: Path) -> None:
    """Refuse to write over a file, or into a folder that has something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; name a new folder")


@contextmanager
def made_parents(path: Path) -> Iterator[None]:
    """Create the parent folders of a path; if the block fails, the new ones are removed."""
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:  # the innermost first
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def replace_folder(draft: Path, folder: Path) -> None:
    """Replace a folder by a finished one, with the same guarantees as `atomic_folder`."""
    folder = folder.resolve()
    try:
        _swap_in(draft, folder)
    finally:
        shutil.rmtree(restore_folder(folder), ignore_errors=True)


def _swap_in(draft: Path, folder: Path, replace: bool = True) -> None:
    """Rename a draft to `folder`; with `replace`, an old folder is first renamed out of the way."""
    if replace:
        before = restore_folder(folder)
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            folder.rename(before)
    draft.rename(folder)
    sync_folder(folder.parent)


def restore_folder(folder: Path) -> Path:
    """Restore the old folder if a kill interrupted a swap; returns where a swap keeps it."""
    folder = folder.resolve()
    before = folder.with_name(f".{folder.name}.before")
    if before.exists() and not folder.exists():
        before.rename(folder)
    return before


@contextmanager
def locked(file: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock file during the block, then remove it; if the process dies, the lock is released.

    If another process holds it, `wait` for it or raise a BlockingIOError. Yields whether a lock was
    taken at all: some file systems do not support locks.
    """
    handle = _locked(file, wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            file.unlink(missing_ok=True)
            os.close(handle)


def _locked(file: Path, wait: bool) -> int | None:
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_current(handle, file):
                return handle
        except BaseException as error:
            os.close(handle)
            if isinstance(error, OSError) and error.errno in NO_LOCKS:
                file.unlink(missing_ok=True)
                return None
            raise
        os.close(handle)


def _is_current(handle: int, file: Path) -> bool:
    """Whether an open file still has its name: its last holder may have removed it meanwhile.

    The number of names is asked of a file server after a lock was granted; the file that has the
    name may come from this machine's cache.
    """
    try:
        opened = os.fstat(handle)
        return opened.st_nlink > 0 and os.path.samestat(opened, file.stat())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise


def sync_file(file: Path) -> None:
    """Wait until the content of a file is on disk."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def apply_umask(files: Iterable[Path]) -> None:
    """Give files that a library made private the mode that any new file there would have.

    The mode is read from a new file beside the first one: reading the umask would require setting
    it for all threads, and a folder's default ACL overrides it.
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
    """Wait until the file names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it
            os.fsync(handle)
    finally:
        os.close(handle)


def read_json(file: Path, what: str = "a JSON file") -> Any:
    """The content of a JSON file. A UserError names the file and the position of a problem.

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
