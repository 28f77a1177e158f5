"""Copies of stores and prepared collections on a machine's own disk, one for all its processes."""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hybrid_dist.data.store.format import MANIFEST, REMEDY, STORE, Kind, read_manifest, replaced
from hybrid_dist.data.threads import prefetch_map
from hybrid_dist.data.user_cache import open_or_build
from hybrid_dist.errors import UserError
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.files import bytes_of, check_room, sync_file, writing
from hybrid_dist.text import printable

T = TypeVar("T")
PIECE = 8 << 20
"""Bytes that are copied at once."""
MB = 10**6
CURE = "make room there, delete copies of other stores, or name no stage"


def open_staged(
    folder: Path, place: str, open_folder: Callable[[Path], T], kind: Kind = STORE
) -> T:
    """Open the copy of a store in PLACE/FINGERPRINT; the folder itself if no place is named.

    The first process of a machine copies, the others wait. What is read is checked against the
    checksums of the manifest, and `open_folder` verifies the copy. A damaged copy is made again.
    """
    if not place:
        return open_folder(folder)
    stage = _own_disk(place)
    manifest = read_manifest(folder, kind)
    needed = sum(file["bytes"] for file in manifest["files"].values())

    def make(copy: Path) -> T:
        check_room(copy, needed, CURE)
        notice = f"{folder}: copying {bytes_of(needed)} to {copy}, once per machine"
        print(printable(notice), file=sys.stderr, flush=True)
        with replaced(copy, needed, replace=False, kind=kind) as draft:
            _copy(folder, draft, manifest["files"])
        return open_folder(copy)

    with writing(stage, needed=needed, cure=CURE):
        return open_or_build(stage / str(manifest["fingerprint"])[:32], open_folder, make)[0]


def _own_disk(place: str) -> Path:
    """The folder that a stage names on this machine."""
    path = os.path.expandvars(place)
    if unknown := re.findall(r"\$\{?\w+\}?", path):
        raise UserError(
            f"stage {place}: the environment has no {unknown[0]} on this machine; set it"
        )
    stage = Path(path).expanduser().absolute()
    with writing(stage):
        is_file = stage.exists() and not stage.is_dir()
    if is_file:
        raise UserError(f"stage {stage}: is a file; name a folder on the machine's own disk")
    return stage


def _copy(folder: Path, draft: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Copy a store's files, several at a time, then its manifest."""
    total = sum(file["bytes"] for file in files.values())
    with (
        progress_bar.shown(),
        progress_bar.part(f"copying {folder.name} (MB)", total // MB) as advance,
    ):
        for name, digest in prefetch_map(lambda name: _copied(folder / name, draft / name), files):
            if digest != files[name]["sha256"]:
                raise UserError(
                    f"{folder / name}: has changed since the store was prepared; {REMEDY}"
                )
            advance(files[name]["bytes"] // MB)
    _copied(folder / MANIFEST, draft / MANIFEST)


def _copied(source: Path, target: Path) -> str:
    """Copy a file and wait until it is on the disk; the checksum of what was read."""
    digest = hashlib.sha256()
    try:
        content = source.open("rb")
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}); {REMEDY}") from None
    with content, target.open("wb") as out:
        while piece := content.read(PIECE):
            digest.update(piece)
            out.write(piece)
    sync_file(target)
    return digest.hexdigest()
