"""Vectors kept on disk, so that a model embeds a task's texts once, however often it is stopped.

A folder for each model and task holds two arrays, of questions and of passages. They are filled in
blocks of texts; a block counts once a file of its own says which bytes belong there. Ranks share
the missing blocks out by the amount of text, and read what others wrote: the folder has to be on a
disk that all of them see. What is read is mapped, so that a corpus may be larger than memory.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.evaluate import Embedder
from hybrid_dist.evaluation.tasks import Task

BLOCK = 8192
"""Texts that are embedded, and then safe, at a time."""
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
        for texts in (task.question_texts, task.passage_texts):
            key.update(_digest(texts).encode())
        self._folder, self._ranks = folder / f"{task.name}-{key.hexdigest()[:16]}", ranks
        self._say = lambda told: say(f"{task.name}: {told}")
        self._questions = self._filled("questions", task.question_texts, embedder.embed_questions)
        self._passages = self._filled("passages", task.passage_texts, embedder.embed_passages)

    def questions(self, rows: slice) -> np.ndarray:
        return self._questions[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]

    def _filled(self, what: str, texts: Sequence[str], embed: Embed) -> np.ndarray:
        file, marks = self._folder / f"{what}.npy", self._folder / f"{what}.blocks"
        shape = (len(texts), embed([]).shape[1])
        if self._ranks.is_first:
            _make(file, marks, shape)
        self._ranks.barrier()
        if not file.exists():
            raise UserError(
                f"--cache {self._folder.parent}: rank {self._ranks.rank} does not see what rank 0 "
                "made there; name a folder on a disk that all nodes share"
            )
        array = np.load(file, mmap_mode="r+")
        blocks = [slice(n, min(n + BLOCK, len(texts))) for n in range(0, len(texts), BLOCK)]
        missing = self._missing(array, blocks, marks)
        there = sum(b.stop - b.start for n, b in enumerate(blocks) if n not in missing)
        self._say(f"{there:,} of {len(texts):,} {what} are in {self._folder}")
        sizes = {n: sum(map(len, texts[blocks[n]])) for n in missing}
        for n in _share(sizes, self._ranks):
            array[blocks[n]] = embed(texts[blocks[n]])
            array.flush()
            _write(marks / str(n), _checksum(array[blocks[n]]))
        self._ranks.barrier()
        return np.load(file, mmap_mode="c")

    def _missing(self, array: np.ndarray, blocks: Sequence[slice], marks: Path) -> list[int]:
        """The blocks that are not there, or not as they were written; ranks look at some each."""
        found = []
        for n in range(self._ranks.rank, len(blocks), self._ranks.world):
            try:
                whole = (marks / str(n)).read_text() == _checksum(array[blocks[n]])
            except OSError:
                whole = False
            if not whole:
                found.append(n)
        return sorted(n for some in self._ranks.gather(found) for n in some)


def _make(file: Path, marks: Path, shape: tuple[int, int]) -> None:
    """Room for vectors, unless it is there."""
    try:
        marks.mkdir(parents=True, exist_ok=True)
        if _shape(file) != shape:
            draft = file.with_name(f".{file.name}")
            np.lib.format.open_memmap(draft, "w+", np.float32, shape).flush()
            draft.replace(file)
    except OSError as error:
        raise UserError(f"--cache {file.parent.parent}: cannot be written ({error})") from None


def _shape(file: Path) -> tuple[int, ...]:
    """None of vectors where the file is missing or cut short."""
    try:
        return np.load(file, mmap_mode="r").shape
    except (OSError, ValueError):
        return ()


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


def _write(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}")
    draft.write_text(text)
    draft.replace(file)


def _checksum(vectors: np.ndarray) -> str:
    return hashlib.sha256(vectors.data).hexdigest()


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256(str(len(texts)).encode())
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
