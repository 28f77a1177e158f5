"""An on-disk cache of vectors: each text of a task is embedded once, even across interruptions.

A folder per model and task holds two arrays, of queries and of passages, written in blocks of
texts. A block counts as complete once a file beside the array holds its checksum. The missing
blocks are shared among ranks by amount of text, and every rank reads what the others wrote, so the
folder must be on a disk that all of them see. Arrays are memory-mapped: a corpus may be larger than
memory. Blocks are written with `pwrite`, since a full disk is not reported for writes to a mapping.

On NFS, blocks of two machines share pages, and a machine that writes one may write the whole page
from its cache, over what the other wrote. O_DSYNC prevents that, and every machine verifies all new
blocks before they are used.
"""

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_vectors import Embedder
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.files import (
    allocated,
    atomic_file,
    check_room,
    write_atomically,
    writing,
)
from hybrid_dist.runtime.ranks import Ranks

REMEDY = "make room there, or name another --cache; complete blocks are kept"
ATTEMPTS = 3
"""How often a block is embedded that does not read back as it was written."""
BLOCK = 8192
"""Texts per block: what an interruption can cost."""
STEMS = {"queries": "questions", "passages": "passages"}
"""File names of the two arrays; those of version 0.1, so that its caches stay valid."""
LOCAL = {"RANK": "0", "WORLD_SIZE": "1"}
"""What launchers say of this process among those of its machine, with the values of a lone one."""
Embed = Callable[[Sequence[str]], np.ndarray]


class FingerprintedEmbedder(Embedder, Protocol):
    """An embedder whose vectors can be cached."""

    @property
    def fingerprint(self) -> str:
        """Equal for embedders that map every text to the same vector, on any machine."""
        ...


class NamedTexts(Protocol):
    """Queries and passages under one name, such as a task."""

    @property
    def name(self) -> str: ...

    @property
    def query_texts(self) -> Sequence[str]: ...

    @property
    def passage_texts(self) -> Sequence[str]: ...


class CachedVectors:
    """The vectors of a task; those missing from the folder are embedded on construction.

    All ranks construct it together.
    """

    def __init__(
        self,
        task: NamedTexts,
        embedder: FingerprintedEmbedder,
        folder: Path,
        ranks: Ranks,
        log: Callable[[str], None],
    ) -> None:
        self.name = embedder.name
        key = hashlib.sha256(embedder.fingerprint.encode())
        for texts in (task.query_texts, task.passage_texts):
            key.update(_digest(texts).encode())
        self.folder, self._ranks = folder / f"{task.name}-{key.hexdigest()[:16]}", ranks
        """The folder of these vectors."""
        self._log = lambda message: log(f"{task.name}: {message}")
        queries, passages = embedder.encode_queries, embedder.encode_passages
        dimension = queries([]).shape[1]
        parts = [
            _Part("queries", task.query_texts, queries, self.folder, dimension),
            _Part("passages", task.passage_texts, passages, self.folder, dimension),
        ]
        self._create_files(parts)
        missing = [self._missing_blocks(part) for part in parts]
        if self._ranks.is_first:  # fail before embedding, not once the disk is full
            needed = sum(
                part.unallocated for part, blocks in zip(parts, missing, strict=True) if blocks
            )
            check_room(folder, needed, REMEDY)
        self._ranks.barrier()
        self._queries, self._passages = map(self._fill, parts, missing)

    def queries(self, rows: slice) -> np.ndarray:
        return self._queries[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]

    def _create_files(self, parts: Sequence["_Part"]) -> None:
        if self._ranks.is_first:
            for part in parts:
                part.create()
        self._ranks.barrier()
        if not all(part.file.exists() for part in parts):
            raise UserError(
                f"--cache {self.folder.parent}: rank {self._ranks.rank} does not see the files "
                "that rank 0 created; name a folder on a disk that all nodes share"
            )

    def _missing_blocks(self, part: "_Part") -> list[int]:
        """The blocks that are absent or damaged; each rank checks its share of them."""
        own_blocks = range(self._ranks.rank, len(part.blocks), self._ranks.world)
        own_missing = [n for n in own_blocks if not part.is_complete(n)]
        missing = sorted(n for blocks in self._ranks.gather(own_missing) for n in blocks)
        count = len(part.texts)
        cached = count - sum(part.blocks[n].stop - part.blocks[n].start for n in missing)
        self._log(f"{cached:,} of {count:,} {part.kind} are in {self.folder}")
        return missing

    def _fill(self, part: "_Part", missing: Sequence[int]) -> np.ndarray:
        """Embed the missing blocks; the whole array, memory-mapped."""
        for _ in range(ATTEMPTS):
            self._embed(part, missing)
            missing = self._not_as_written(part, missing)
            if not missing:
                return np.load(part.file, mmap_mode="c")
            self._log(f"{len(missing)} blocks of {part.kind} were damaged on the disk")
        raise UserError(
            f"--cache {self.folder.parent}: what one machine writes there is not what another "
            "reads; name a folder on another disk"
        )

    def _embed(self, part: "_Part", missing: Sequence[int]) -> None:
        sizes = {n: sum(map(len, part.texts[part.blocks[n]])) for n in missing}
        own = _own_share(sizes, self._ranks)
        count = sum(part.blocks[n].stop - part.blocks[n].start for n in own)
        with progress_bar.part(f"embedding {part.kind}", count):
            for n in own:
                part.write(n, part.embed(part.texts[part.blocks[n]]))
        self._ranks.barrier()

    def _not_as_written(self, part: "_Part", written: Sequence[int]) -> list[int]:
        """New blocks that a machine reads otherwise; its ranks share them."""
        if self._ranks.world == 1:
            return []
        rank, here = (int(os.environ.get(f"LOCAL_{name}", n)) for name, n in LOCAL.items())
        damaged = [n for n in written[rank::here] if not part.is_complete(n)]
        return sorted({n for blocks in self._ranks.gather(damaged) for n in blocks})


class _Part:
    """The queries or the passages: an .npy file in blocks, with a checksum file for each."""

    def __init__(
        self, kind: str, texts: Sequence[str], embed: Embed, folder: Path, dimension: int
    ) -> None:
        self.kind, self.texts, self.embed = kind, texts, embed
        stem = STEMS[kind]
        self.blocks = [slice(n, min(n + BLOCK, len(texts))) for n in range(0, len(texts), BLOCK)]
        self.file, self._checksums = folder / f"{stem}.npy", folder / f"{stem}.blocks"
        header = io.BytesIO()
        layout = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), dimension)}
        np.lib.format.write_array_header_1_0(header, layout)
        self._header, self._row_bytes = header.getvalue(), 4 * dimension
        self._size = len(self._header) + len(texts) * self._row_bytes

    @property
    def unallocated(self) -> int:
        """Bytes of the file that the disk has not allocated yet."""
        return self._size - allocated(self.file)

    def create(self) -> None:
        """Create a sparse file of the right shape, unless it exists."""
        with self._writing():
            self._checksums.mkdir(parents=True, exist_ok=True)
            if not self._is_created():
                with atomic_file(self.file) as out:
                    out.write(self._header)
                    out.truncate(self._size)

    def _is_created(self) -> bool:
        try:
            with self.file.open("rb") as content:
                same = content.read(len(self._header)) == self._header
                return same and os.fstat(content.fileno()).st_size == self._size
        except FileNotFoundError:
            return False

    def write(self, number: int, rows: np.ndarray) -> None:
        """Write a block of vectors, then its checksum, which makes it complete."""
        content = np.ascontiguousarray(rows, "<f4").data.cast("B")
        digest = hashlib.sha256(content).hexdigest()
        with self._writing():
            handle = os.open(self.file, os.O_WRONLY | os.O_DSYNC)
            try:
                offset = self._offset(number)
                while content:
                    written = os.pwrite(handle, content, offset)
                    content, offset = content[written:], offset + written
                os.fsync(handle)
            finally:
                os.close(handle)
            write_atomically(self._checksums / str(number), digest)

    def is_complete(self, number: int) -> bool:
        """Whether a block is on the disk and matches its checksum."""
        rows = self.blocks[number]
        try:
            digest = (self._checksums / str(number)).read_text("ascii")
            with self.file.open("rb") as file:
                file.seek(self._offset(number))
                content = file.read((rows.stop - rows.start) * self._row_bytes)
        except (OSError, ValueError):
            return False
        return digest == hashlib.sha256(content).hexdigest()

    def _offset(self, number: int) -> int:
        return len(self._header) + self.blocks[number].start * self._row_bytes

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self.file.parent.parent, needed=self._size, cure=REMEDY)


def _own_share(sizes: dict[int, int], ranks: Ranks) -> list[int]:
    """This rank's blocks: each block, largest first, goes to the rank with the least text."""
    loads = [0] * ranks.world
    own = []
    for n in sorted(sizes, key=lambda n: (-sizes[n], n)):
        rank = loads.index(min(loads))
        loads[rank] += sizes[n] + 1
        if rank == ranks.rank:
            own.append(n)
    return sorted(own)


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256(str(len(texts)).encode())
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
