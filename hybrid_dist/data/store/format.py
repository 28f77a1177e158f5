"""The files of a store: texts as Arrow files, arrays of numbers, and a manifest written last.

manifest.json    counts per language, source, options, and every file's size and SHA-256
queries.arrow    the query of each row
passages.arrow   the distinct passages of each language, with their hashes
uids.arrow       every uid, sorted
*.npy            the index: see `data.store.index.Index`
teacher_*.npy    a teacher's vectors, if requested: see `data.store.teacher_vectors`
*_tokens.npy     token ids, if requested: see `data.store.token_cache`
*_scores.npy     scores of negatives and of each row's own passage, if mined (`mining`) or imported
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hybrid_dist.data.blocks import path_exists
from hybrid_dist.data.threads import CORES
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import (
    atomic_folder,
    locked,
    made_parents,
    read_json,
    write_atomically,
    writing,
)
from hybrid_dist.text import json_text

VERSION = 4
READABLE = (2, 3, VERSION)
"""Version 2 has no checksum of the manifest: its fingerprint covers the counts and the files.
Versions 2 and 3 have other names for some arrays."""
ARRAY_NAMES = {"passage_length": "text_length"}
"""Arrays of the index whose files have other names."""
NAMES_BEFORE_4 = {
    "uid_passage_cluster": "passage_group",
    "uid_query_cluster": "query_group",
    "passage_cluster": "text_group",
}
"""More of them in versions 2 and 3."""
MANIFEST = "manifest.json"
KIND = "hybrid_dist_store"
QUERIES, PASSAGES, UIDS = "queries.arrow", "passages.arrow", "uids.arrow"
NEGATIVE_SCORES, POSITIVE_SCORES = "negative_scores", "positive_scores"
"""Arrays of a store with scores beside its index, float32: of each number in `negatives`, and of
each row's own passage."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder with a manifest."""

    key: str
    """The key of its manifest that has the version of the format."""
    version: int
    """The version that is written."""
    readable: tuple[int, ...]
    files: tuple[str, ...]
    """Files that tell it where the manifest is lost."""
    what: str
    """What it is called in messages."""
    made_by: str
    """The command that makes one, up to the folder."""


STORE = Kind(
    KIND,
    VERSION,
    READABLE,
    (QUERIES, PASSAGES, UIDS),
    "store",
    "hybrid-dist prepare SOURCE PATH --out",
)
COLLECTION = Kind(
    "hybrid_dist_collection",
    1,
    (1,),
    (QUERIES, PASSAGES, "passage_ids.arrow"),
    "prepared collection",
    "hybrid-dist prepare SOURCE PATH --collection --out",
)
KINDS = (STORE, COLLECTION)
Manifest = dict[str, Any]
REMEDY = "copy the store again, or prepare it again"


def is_store(path: Path, kind: Kind = STORE) -> bool:
    """Whether a folder is a store, possibly a damaged one; other folders have manifests too."""
    if not path_exists(str(path)):
        return False
    try:
        if f'"{kind.key}"' in (path / MANIFEST).read_text("utf-8", "replace"):
            return True
    except OSError:  # it is missing, or not readable
        pass
    return all((path / name).is_file() for name in kind.files)


@contextmanager
def replaced(
    store: Path, needed: int | None = None, replace: bool = True, kind: Kind = STORE
) -> Iterator[Path]:
    """An empty folder to build a store in; it becomes `store` when the block ends.

    An error removes it and leaves an existing store untouched. `needed`: the bytes that its disk
    must have free, if estimated. `replace`: see `atomic_folder`.
    """
    is_empty = store.is_dir() and not any(store.iterdir())
    if store.exists() and not is_store(store, kind) and not is_empty:
        raise UserError(f"{store}: holds other things; name a new folder, or a {kind.what}")
    store = store.resolve()
    lock = store.with_name(f".{store.name}.lock")
    with made_parents(store):
        try:
            with writing(store, lock), locked(lock) as is_locked:
                if is_locked:  # leftovers of a killed process
                    for left in store.parent.glob(f".{glob.escape(store.name)}.*.part"):
                        shutil.rmtree(left, ignore_errors=True)
                with atomic_folder(store, needed, replace) as folder:
                    yield folder
        except BlockingIOError:
            problem = f"{store}: another process is preparing it; wait for it"
            raise UserError(problem) from None


class Checksums:
    """Sizes and checksums of a store's complete files, computed in background threads."""

    def __init__(self, durable: bool = True) -> None:
        self.durable = durable
        """Whether to wait until the files are on disk."""
        self._pool = ThreadPoolExecutor(CORES, thread_name_prefix="checksums")
        self._taken: dict[Path, Future[dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, *files: Path) -> None:
        """Start on files that do not change any more."""
        for file in files:
            self._taken[file] = self._pool.submit(self._of, file)

    def of(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Size and checksum of every file of the folder, by name."""
        files = sorted(file for file in folder.iterdir() if file.name != MANIFEST)
        self.take(*(file for file in files if file not in self._taken))
        return {file.name: self._taken[file].result() for file in files}

    def _of(self, file: Path) -> dict[str, Any]:
        with writing(file), file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            if self.durable:
                os.fsync(content.fileno())
            return {"bytes": os.fstat(content.fileno()).st_size, "sha256": digest}


def write_manifest(
    folder: Path, about: Mapping[str, Any], checksums: Checksums, kind: Kind = STORE
) -> None:
    """Write the manifest with the checksums of all files and of the manifest itself."""
    files = checksums.of(folder)
    fingerprint = _fingerprint(about["languages"], files)
    manifest = {kind.key: kind.version, "fingerprint": fingerprint, **about, "files": files}
    manifest["checksum"] = _checksum(manifest)
    write_atomically(folder / MANIFEST, f"{json_text(manifest, 1)}\n", checksums.durable)


def _fingerprint(languages: Any, files: Any) -> str:
    content = json.dumps([languages, files], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _checksum(manifest: Mapping[str, Any]) -> str:
    """The checksum of the manifest's content, independent of its formatting."""
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path, kind: Kind = STORE) -> Manifest:
    """A store's manifest; a UserError if it is damaged or a file is missing or of another size."""
    if not is_store(folder, kind):
        others = [other.what for other in KINDS if other != kind and is_store(folder, other)]
        found = f"is a {others[0]} and no {kind.what}" if others else f"is no {kind.what}"
        raise UserError(f"{folder}: {found}; make one with `{kind.made_by} FOLDER`")
    file = folder / MANIFEST
    if not file.exists():
        raise UserError(f"{file}: is missing; {REMEDY}")
    try:
        manifest = read_json(file, f"a {kind.what}'s manifest")
    except UserError as error:
        raise UserError(f"{error}; {REMEDY}") from None
    version = manifest.get(kind.key) if isinstance(manifest, dict) else None
    if type(version) is int and version not in kind.readable:
        raise UserError(
            f"{folder}: is a {kind.what} of version {version}, this program reads version "
            f"{kind.version}; prepare it again"
        )
    if type(version) is not int or not _is_whole(manifest):
        raise UserError(f"{file}: is damaged: it is not what was written; {REMEDY}")
    for name, recorded in manifest["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != recorded["bytes"]:
            what = "is cut short or changed" if file.is_file() else "is missing"
            raise UserError(f"{file}: {what}; {REMEDY}")
    return dict(manifest)


def array_names(manifest: Manifest) -> Mapping[str, str]:
    """The file names of those index arrays that a store of this version names otherwise."""
    return ARRAY_NAMES if manifest[KIND] >= 4 else ARRAY_NAMES | NAMES_BEFORE_4


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is as it was written."""
    if manifest.get(KIND, 3) >= 3 or "checksum" in manifest:
        return manifest.get("checksum") == _checksum(manifest)
    languages, files = manifest.get("languages"), manifest.get("files")
    return manifest.get("fingerprint") == _fingerprint(languages, files)
