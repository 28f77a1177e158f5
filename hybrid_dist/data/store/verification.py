"""Whether a store's files are what was prepared: all bytes are read once per machine.

That a store was found whole is remembered in the user's cache folder, under a hash of the machine
and of each file's device, inode, size and times. The processes of a machine read in turn, so that
the first one reads and the others find it remembered.
"""

import hashlib
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hybrid_dist.data.store.format import REMEDY, Manifest
from hybrid_dist.data.threads import prefetched
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import bytes_of, locked
from hybrid_dist.text import printable

PIECE = 1 << 20
LARGE = 2 * 10**9
"""Bytes from which reading takes so long that a line says so."""
REMEMBERED = 1000
"""Stores."""
TICK = 0.1
"""Seconds: no file system tells two changes apart that are closer than its clock's ticks."""


def verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a store if any byte of its files has changed."""
    stopped = threading.Event()
    changed = []
    try:
        paths = [folder / name for name in files]
        for file, digest in prefetched(partial(_digest, stopped=stopped), paths):
            if digest != files[file.name]["sha256"]:
                changed.append(str(file))
    finally:
        stopped.set()
    if changed:
        verb = "has" if len(changed) == 1 else "have"
        raise UserError(
            f"{', '.join(changed)}: {verb} changed since the store was prepared; {REMEDY}"
        )


def _digest(file: Path, stopped: threading.Event) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as content:
            while not stopped.is_set() and (piece := content.read(PIECE)):
                digest.update(piece)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {REMEDY}") from None
    return digest.hexdigest()


@contextmanager
def verify_once(folder: Path, manifest: Manifest, again: bool = False) -> Iterator[bool]:
    """Verify a store's files unless this machine has; whether it had not.

    If the block ends well the store is remembered as whole. `again`: verify it in any case.
    """
    files = manifest["files"]
    with ExitStack() as stack:
        cache, identity = _cache(), _identity(folder, manifest)
        marker = cache / identity if cache is not None else None
        if marker is not None and not again and not marker.exists():
            with suppress(OSError):  # a full disk: every process verifies for itself
                stack.enter_context(locked(marker.with_suffix(".lock"), wait=True))
        if marker is not None and not again and marker.exists():
            yield False
            return
        size = sum(told["bytes"] for told in files.values())
        if size > LARGE and not again:
            told = f"{folder}: reading {bytes_of(size)} to verify its checksums, once per machine"
            print(printable(told), file=sys.stderr, flush=True)
        time.sleep(TICK)  # a change while files are read is then seen by their times
        verify(folder, files)
        yield True
        if marker is not None and _identity(folder, manifest) == identity:
            _remember(marker, folder)


def _remember(marker: Path, folder: Path) -> None:
    with suppress(OSError):
        marker.write_text(f"{folder.resolve()}\n", "utf-8", "replace")
        markers = sorted(marker.parent.iterdir(), key=lambda file: file.stat().st_mtime)
        for old in markers[:-REMEMBERED]:
            old.unlink()


def _identity(folder: Path, manifest: Manifest) -> str:
    """A name for these very files on this machine; any change of one gives another name."""
    told: list[Any] = [platform.node(), manifest["fingerprint"]]
    with suppress(OSError):
        told.append(Path("/etc/machine-id").read_text())
    for name in sorted(manifest["files"]):
        at = (folder / name).stat()
        told.append((name, at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def _cache() -> Path | None:
    """A folder of this user's that can be written to; None if there is none."""
    places = []
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    with suppress(RuntimeError):  # the user has no home
        places.append((given if given.is_absolute() else Path.home() / ".cache") / "hybrid_dist")
    shared = Path(tempfile.gettempdir()) / f"hybrid_dist-{os.getuid()}"
    for place in (*places, shared):
        with suppress(OSError):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            mine = place is not shared or place.lstat().st_uid == os.getuid()
            if mine and not place.is_symlink() and os.access(place, os.W_OK):
                folder = place / "verified"
                folder.mkdir(exist_ok=True)
                return folder
    return None
