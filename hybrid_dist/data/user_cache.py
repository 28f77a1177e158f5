"""The user's cache folder, and folders in it that one process builds and the next ones reuse."""

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import hybrid_dist
from hybrid_dist.data.store.format import VERSION
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import locked
from hybrid_dist.text import printable

T = TypeVar("T")
VARIABLE = "HYBRID_DIST_CACHE"
EXISTS = (errno.EEXIST, errno.ENOTEMPTY)
"""What renaming a folder raises if its new name is taken."""


def cache_folder(name: str) -> Path | None:
    """The user's folder for one kind of cached files; None if no place can be written to.

    It is a subfolder of `$HYBRID_DIST_CACHE`, of `hybrid_dist` in `$XDG_CACHE_HOME` or `~/.cache`,
    or of `hybrid_dist-UID` in the folder for temporary files.
    """
    places = []
    if chosen := os.environ.get(VARIABLE):
        places.append(Path(chosen).expanduser())
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    with suppress(RuntimeError):  # the user has no home
        places.append((base if base.is_absolute() else Path.home() / ".cache") / "hybrid_dist")
    shared = Path(tempfile.gettempdir()) / f"hybrid_dist-{os.getuid()}"
    for place in (*places, shared):
        with suppress(OSError):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            mine = place is not shared or place.lstat().st_uid == os.getuid()
            if mine and not place.is_symlink() and os.access(place, os.W_OK):
                folder = place / name
                folder.mkdir(exist_ok=True)
                return folder
    return None


def store_cache(setting: str) -> Path | None:
    """Where stores of pair files are kept: `data.cache_dir`, or `stores` in the user's cache."""
    return Path(setting).expanduser().absolute() if setting else cache_folder("stores")


def key_of_files(files: Sequence[Path]) -> str:
    """The name of the store of these files: another one if any file, its size or its time changes.

    Versions that decide how files are read are part of it.
    """
    versions = [VERSION, hybrid_dist.__version__, unicodedata.unidata_version]
    stats = [(str(file.resolve()), file.stat()) for file in files]
    described = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps([versions, described]).encode()).hexdigest()[:32]


def open_or_build(
    folder: Path, open_folder: Callable[[Path], T], build: Callable[[Path], T]
) -> tuple[T, bool]:
    """A cached folder, opened; and whether this process has built it.

    If it is missing, or `open_folder` refuses it as damaged, the first process builds it while the
    others wait. `build` must not replace an existing folder: on a file system without locks, the
    first of several builders wins.
    """
    if folder.exists():
        with suppress(UserError, OSError):
            return open_folder(folder), False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock"), wait=True):
        if folder.exists():
            try:
                return open_folder(folder), False
            except UserError as error:
                notice = f"the cached store is damaged and is built again ({error})"
                print(printable(notice), file=sys.stderr, flush=True)
                shutil.rmtree(folder)
        try:
            return build(folder), True
        except OSError as error:
            if error.errno not in EXISTS:
                raise
        return open_folder(folder), False
