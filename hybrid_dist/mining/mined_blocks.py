"""Mined negatives of blocks of queries, as files: what is complete survives a kill."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_dist.data.store.index import Index
from hybrid_dist.runtime.files import write_atomically

BLOCK, RESCORED_BLOCK = 8192, 512
"""The most queries of a block, without and with rescoring: what an interruption can cost."""
TALLY = ("queries", "candidates", "relevant", "relative", "absolute", "removed")
"""What a block counts: queries, passages in their rank windows, and those removed: as known to be
relevant, by each filter, and by any filter."""


class Place(NamedTuple):
    """Where a block is in the store: rows of one language."""

    language: int
    rows: range


class Mined(NamedTuple):
    """The negatives of a block's rows, concatenated."""

    counts: np.ndarray
    """Negatives of each row [B]."""
    negatives: np.ndarray
    """Passage numbers [H]."""
    scores: np.ndarray
    """Their scores [H], float32."""
    ranks: np.ndarray
    """Their ranks [H]."""
    positives: np.ndarray
    """The score of each row's own passage [B], float32."""
    tally: np.ndarray
    """[len(TALLY)]"""


def places(index: Index, size: int) -> list[Place]:
    """All rows of a store in blocks of up to `size` rows of one language, in order."""
    return [
        Place(language, range(low, min(low + size, last)))
        for language, (first, last) in enumerate(pairwise(index.language_starts.tolist()))
        for low in range(first, last, size)
    ]


@dataclass(frozen=True)
class BlockFiles:
    """A folder with a file for every block that is mined."""

    folder: Path
    places: Sequence[Place]

    def missing(self) -> list[int]:
        """The numbers of the blocks that are not there, or damaged."""
        return [number for number in range(len(self.places)) if self.read(number) is None]

    def write(self, number: int, mined: Mined) -> None:
        content = io.BytesIO()
        np.savez(content, **mined._asdict())
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(number), content.getvalue())

    def read(self, number: int) -> Mined | None:
        """A block; None if there is none, or it does not match its checksums."""
        try:
            with np.load(self._file(number), allow_pickle=False) as content:
                mined = Mined(*(content[name] for name in Mined._fields))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        return mined if len(mined.counts) == len(self.places[number].rows) else None

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.npz"
