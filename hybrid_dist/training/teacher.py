"""What the feed and the updater know of a run's teacher; teacher_sources.py has the kinds of it.

Shapes:
    B  queries on this rank, each with its passage
    M  hard negatives on this rank
    T  width of the teacher's vectors
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from hybrid_dist.losses.distillation import Vectors
from hybrid_dist.model.encoder import Chunk
from hybrid_dist.runtime.ranks import Ranks


@dataclass(frozen=True)
class ChunkTexts:
    """The texts of a chunk, as numbers in a store."""

    query_rows: np.ndarray
    """Rows of the store whose queries are taken."""
    candidates: np.ndarray
    """Passage numbers: those of the queries, then the hard negatives."""


@dataclass(frozen=True)
class TeacherInputs:
    """What a teacher's vectors of a rank's texts are made from: one of these."""

    vectors: Vectors | None = None
    """The vectors themselves: of queries [B, T] and of candidates [B + M, T]."""
    chunks: tuple[Chunk, ...] = ()
    """The texts, by the teacher's tokenizer."""

    def pinned(self) -> "TeacherInputs":
        """The same in pinned memory."""
        chunks = tuple(chunk.pinned() for chunk in self.chunks)
        if self.vectors is None:
            return replace(self, chunks=chunks)
        queries, candidates = self.vectors
        return replace(self, vectors=(queries.pin_memory(), candidates.pin_memory()))

    def to(self, device: torch.device) -> "TeacherInputs":
        """The same on a device. The host does not wait for pinned ones."""
        chunks = tuple(chunk.to(device) for chunk in self.chunks)
        if self.vectors is None:
            return replace(self, chunks=chunks)
        queries, candidates = (part.to(device, non_blocking=True) for part in self.vectors)
        return replace(self, vectors=(queries, candidates))


class Teacher(Protocol):
    """Gives vectors of the texts that the student encodes."""

    @property
    def width(self) -> int:
        """T, the width of a vector."""
        ...

    @property
    def description(self) -> str:
        """For a message when the run starts."""
        ...

    def place(self, ranks: Ranks) -> None:
        """Move what it needs to this rank's device. All ranks call it together."""
        ...

    def inputs(self, source: int, chunks: Sequence[ChunkTexts]) -> TeacherInputs:
        """What `vectors` takes, for the texts of a rank; called in the thread of the feed."""
        ...

    def vectors(self, inputs: TeacherInputs) -> Vectors:
        """Vectors of queries [B, T] and candidates [B + M, T], ordered as the student's."""
        ...
