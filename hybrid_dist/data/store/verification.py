"""Verification of a store's files against their checksums, once per machine.

A verified store is remembered in the user's cache folder, under a hash of the machine and of each
file's device, inode, size and times. Of several processes on a machine, one reads the files and the
others wait for its result.
"""

import hashlib
import platform
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hybrid_dist.data.store.format import REMEDY, Manifest
from hybrid_dist.data.threads import prefetch_map
from hybrid_dist.data.user_cache import cache_folder
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import bytes_of, locked
from hybrid_dist.text import printable

PIECE = 1 << 20
LARGE = 2 * 10**9
"""Bytes from which reading takes long enough for a notice."""
REMEMBERED = 1000
"""The number of verified stores that are remembered."""
TICK = 0.1
"""Seconds: two changes closer than the ticks of a file system's clock have equal times."""


def verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a store if any byte of its files has changed."""
    stopped = threading.Event()
    changed = []
    try:
        paths = [folder / name for name in files]
        for file, digest in prefetch_map(partial(_digest, stopped=stopped), paths):
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
    """Verify a store's files unless this machine already has; yields whether they were read.

    The store is remembered as verified if the block raises no error. `again`: verify in any case.
    """
    files = manifest["files"]
    with ExitStack() as stack:
        cache, identity = cache_folder("verified"), _identity(folder, manifest)
        marker = cache / identity if cache is not None else None
        if marker is not None and not again and not marker.exists():
            with suppress(OSError):  # a full disk: every process verifies for itself
                stack.enter_context(locked(marker.with_suffix(".lock"), wait=True))
        if marker is not None and not again and marker.exists():
            yield False
            return
        size = sum(file["bytes"] for file in files.values())
        if size > LARGE and not again:
            notice = f"{folder}: reading {bytes_of(size)} to verify its checksums, once per machine"
            print(printable(notice), file=sys.stderr, flush=True)
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
    """A name for these files on this machine; any change of a file changes it."""
    parts: list[Any] = [platform.node(), manifest["fingerprint"]]
    with suppress(OSError):
        parts.append(Path("/etc/machine-id").read_text())
    for name in sorted(manifest["files"]):
        stat = (folder / name).stat()
        times = stat.st_mtime_ns, stat.st_ctime_ns
        parts.append((name, stat.st_dev, stat.st_ino, stat.st_size, *times))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
