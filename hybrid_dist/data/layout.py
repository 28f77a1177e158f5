"""What a store is on disk: Arrow files of texts, arrays of numbers, and a manifest written last.

manifest.json    counts per language, source, options, and every file's size and SHA-256
queries.arrow    of each row its question
passages.arrow   every distinct passage of a language, once, with its hash
uids.arrow       every uid, sorted
*.npy            the index: see `data.store.Index`
*_tokens.npy     token ids, where they were asked for: see `data.token_cache`
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybrid_dist.data.threads import CORES
from hybrid_dist.errors import UserError

VERSION = 2
MANIFEST = "manifest.json"
KIND = "hybrid_dist_store"
QUERIES, PASSAGES, UIDS = "queries.arrow", "passages.arrow", "uids.arrow"
Manifest = dict[str, Any]


def is_store(path: Path) -> bool:
    """Whether a folder says that it is one: other folders have a manifest too."""
    try:
        told = json.loads((path / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and KIND in told


@contextmanager
def replaced(store: Path) -> Iterator[Path]:
    """A folder to make a store in: it takes the store's place when it is whole, or goes."""
    if store.exists() and not is_store(store) and not (store.is_dir() and not any(store.iterdir())):
        raise UserError(f"--out {store}: holds other things; name a new folder, or a store")
    made = store.resolve().with_name(f".{store.resolve().name}.half-made")
    missing = [parent for parent in made.parents if not parent.exists()]
    made.mkdir(parents=True, exist_ok=True)
    holder = os.open(made, os.O_RDONLY)
    try:
        _hold(holder, store)
        if _before(made).exists() and not store.exists():
            _before(made).rename(store.resolve())  # killed between the two renames of `_put`
        _clear(made)  # what a killed process left
        try:
            yield made
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            for parent in missing:
                parent.rmdir()
            raise
        _put(made, store.resolve())
    finally:
        os.close(holder)


def _hold(folder: int, store: Path) -> None:
    """One process at a time; the lock goes with the process, however it ends."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f"--out {store}: another process is preparing it; wait for it") from None


def _clear(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _before(made: Path) -> Path:
    """Where the store that is replaced stands for a moment."""
    return made.with_name(f"{made.name}.before")


def _put(made: Path, store: Path) -> None:
    """Rename a whole store to its place; the store before goes only when the new one stands."""
    before = _before(made)
    shutil.rmtree(before, ignore_errors=True)
    if store.exists():
        store.rename(before)
    made.rename(store)
    _sync(store.parent)
    shutil.rmtree(before, ignore_errors=True)


class Checksums:
    """Sizes and checksums of a store's files: taken beside other work from files that are whole."""

    def __init__(self, durable: bool = True) -> None:
        self.durable = durable
        """Whether to wait until the disk has the files."""
        self._pool = ThreadPoolExecutor(CORES, thread_name_prefix="checksums")
        self._taken: dict[Path, Future[dict[str, Any]]] = {}

    def take(self, *files: Path) -> None:
        """Begin with files that do not change from here on."""
        for file in files:
            self._taken[file] = self._pool.submit(self._of, file)

    def of(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Those of all files of the folder, by name."""
        files = sorted(file for file in folder.iterdir() if file.name != MANIFEST)
        self.take(*(file for file in files if file not in self._taken))
        told = {file.name: self._taken[file].result() for file in files}
        self._pool.shutdown()
        return told

    def _of(self, file: Path) -> dict[str, Any]:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            if self.durable:
                os.fsync(content.fileno())
        return {"bytes": file.stat().st_size, "sha256": digest}


def write_manifest(folder: Path, about: Mapping[str, Any], checksums: Checksums) -> None:
    """Say what the store is, with the checksums of its files."""
    told = checksums.of(folder)
    content = json.dumps([about["languages"], told], sort_keys=True)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    manifest = {KIND: VERSION, "fingerprint": fingerprint, **about, "files": told}
    with (folder / MANIFEST).open("w", encoding="utf-8") as out:
        json.dump(manifest, out, indent=1, ensure_ascii=False)
        out.write("\n")
        out.flush()
        if checksums.durable:
            os.fsync(out.fileno())
    if checksums.durable:
        _sync(folder)


def read_manifest(folder: Path) -> Manifest:
    """What a store says of itself, if all its files are there and as long as they were."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        version, files = manifest[KIND], manifest["files"]
        sizes = {name: described["bytes"] for name, described in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{folder}: is no store; make one with `hybrid-dist prepare SOURCE PATH --out {folder}`"
        ) from None
    if version != VERSION:
        raise UserError(
            f"{folder}: is a store of version {version}, this program reads version {VERSION}; "
            "prepare it again"
        )
    for name, size in sizes.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            what = "is cut short or changed" if file.is_file() else "is missing"
            raise UserError(f"{file}: {what}; copy the store again, or prepare it again")
    return dict(manifest)


def verify(folder: Path) -> None:
    """Refuse a store any byte of whose files has changed."""
    for name, told in read_manifest(folder)["files"].items():
        with (folder / name).open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != told["sha256"]:
                raise UserError(f"{folder / name}: has changed since the store was prepared")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
