"""Vectors kept on disk, so that a model embeds a task's texts once, however often it is stopped.

A folder for each model and task holds two arrays, of queries and of passages. They are filled in
blocks of texts; a block counts once a file of its own says which bytes belong there. Ranks share
the missing blocks out by the amount of text, and read what others wrote: the folder has to be on a
disk that all of them see. What is read is mapped, so that a corpus may be larger than memory.
Blocks are written by `pwrite`: a write into a mapping has no way to say that the disk is full.
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
from hybrid_dist.evaluation.evaluator import Embedder
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.runtime.files import (
    allocated,
    atomic_file,
    check_room,
    write_atomically,
    writing,
)
from hybrid_dist.runtime.ranks import Ranks

REMEDY = "make room there, or name another --cache; blocks that are written stay"
BLOCK = 8192
"""Texts that are embedded, and then safe, at a time."""
STEMS = {"queries": "questions", "passages": "passages"}
"""What the files of queries and of passages are called: as ever, so that old caches stay valid."""
Embed = Callable[[Sequence[str]], np.ndarray]


class Known(Embedder, Protocol):
    """An embedder that can tell itself from others."""

    @property
    def fingerprint(self) -> str:
        """Equal for those that give a text the same vector, on any machine."""
        ...


class Cached:
    """The vectors of a task, embedded where the folder does not have them yet.

    Ranks make it together.
    """

    def __init__(
        self, task: Task, embedder: Known, folder: Path, ranks: Ranks, say: Callable[[str], None]
    ) -> None:
        self.name = embedder.name
        key = hashlib.sha256(embedder.fingerprint.encode())
        for texts in (task.query_texts, task.passage_texts):
            key.update(_digest(texts).encode())
        self._folder, self._ranks = folder / f"{task.name}-{key.hexdigest()[:16]}", ranks
        self._say = lambda told: say(f"{task.name}: {told}")
        queries, passages = embedder.encode_queries, embedder.encode_passages
        dimension = queries([]).shape[1]
        parts = [
            _Part("queries", task.query_texts, queries, self._folder, dimension),
            _Part("passages", task.passage_texts, passages, self._folder, dimension),
        ]
        self._make(parts)
        missing = [self._missing(part) for part in parts]
        if self._ranks.is_first:  # before any text is embedded whose vector would have no room
            left = sum(part.left for part, blocks in zip(parts, missing, strict=True) if blocks)
            check_room(folder, left, REMEDY)
        self._ranks.barrier()
        self._queries, self._passages = map(self._filled, parts, missing)

    def queries(self, rows: slice) -> np.ndarray:
        return self._queries[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]

    def _make(self, parts: Sequence["_Part"]) -> None:
        if self._ranks.is_first:
            for part in parts:
                part.make()
        self._ranks.barrier()
        if not all(part.file.exists() for part in parts):
            raise UserError(
                f"--cache {self._folder.parent}: rank {self._ranks.rank} does not see what rank 0 "
                "made there; name a folder on a disk that all nodes share"
            )

    def _missing(self, part: "_Part") -> list[int]:
        """The blocks that are not there, or not as they were written; ranks look at some each."""
        mine = range(self._ranks.rank, len(part.blocks), self._ranks.world)
        found = [n for n in mine if not part.is_written(n)]
        missing = sorted(n for some in self._ranks.gather(found) for n in some)
        count = len(part.texts)
        there = count - sum(part.blocks[n].stop - part.blocks[n].start for n in missing)
        self._say(f"{there:,} of {count:,} {part.what} are in {self._folder}")
        return missing

    def _filled(self, part: "_Part", missing: Sequence[int]) -> np.ndarray:
        sizes = {n: sum(map(len, part.texts[part.blocks[n]])) for n in missing}
        for n in _share(sizes, self._ranks):
            part.write(n, part.embed(part.texts[part.blocks[n]]))
        self._ranks.barrier()
        return np.load(part.file, mmap_mode="c")


class _Part:
    """The queries or the passages: an array in a file, written in blocks, and beside it of every
    block its checksum."""

    def __init__(
        self, what: str, texts: Sequence[str], embed: Embed, folder: Path, dimension: int
    ) -> None:
        self.what, self.texts, self.embed = what, texts, embed
        stem = STEMS[what]
        self.blocks = [slice(n, min(n + BLOCK, len(texts))) for n in range(0, len(texts), BLOCK)]
        self.file, self._marks = folder / f"{stem}.npy", folder / f"{stem}.blocks"
        header = io.BytesIO()
        described = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), dimension)}
        np.lib.format.write_array_header_1_0(header, described)
        self._header, self._row = header.getvalue(), 4 * dimension
        self._size = len(self._header) + len(texts) * self._row

    @property
    def left(self) -> int:
        """Bytes that the file does not take yet."""
        return self._size - allocated(self.file)

    def make(self) -> None:
        """A file of this shape, unless it is there; its bytes take room as they are written."""
        with self._writing():
            self._marks.mkdir(parents=True, exist_ok=True)
            if not self._is_made():
                with atomic_file(self.file) as out:
                    out.write(self._header)
                    out.truncate(self._size)

    def _is_made(self) -> bool:
        try:
            with self.file.open("rb") as content:
                same = content.read(len(self._header)) == self._header
                return same and os.fstat(content.fileno()).st_size == self._size
        except FileNotFoundError:
            return False

    def write(self, number: int, rows: np.ndarray) -> None:
        """Write a block of rows; it counts once its checksum is written."""
        content = np.ascontiguousarray(rows, "<f4").data.cast("B")
        digest = hashlib.sha256(content).hexdigest()
        with self._writing():
            handle = os.open(self.file, os.O_WRONLY)
            try:
                at = self._start(number)
                while content:
                    written = os.pwrite(handle, content, at)
                    content, at = content[written:], at + written
                os.fsync(handle)
            finally:
                os.close(handle)
            write_atomically(self._marks / str(number), digest)

    def is_written(self, number: int) -> bool:
        rows = self.blocks[number]
        try:
            digest = (self._marks / str(number)).read_text("ascii")
            with self.file.open("rb") as content:
                content.seek(self._start(number))
                found = content.read((rows.stop - rows.start) * self._row)
        except (OSError, ValueError):
            return False
        return digest == hashlib.sha256(found).hexdigest()

    def _start(self, number: int) -> int:
        return len(self._header) + self.blocks[number].start * self._row

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self.file.parent.parent, needed=self._size, cure=REMEDY)


def _share(sizes: dict[int, int], ranks: Ranks) -> list[int]:
    """This rank's blocks: the largest first, each to the rank that has least to do."""
    loads = [0] * ranks.world
    mine = []
    for n in sorted(sizes, key=lambda n: (-sizes[n], n)):
        rank = loads.index(min(loads))
        loads[rank] += sizes[n] + 1
        if rank == ranks.rank:
            mine.append(n)
    return sorted(mine)


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256(str(len(texts)).encode())
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
