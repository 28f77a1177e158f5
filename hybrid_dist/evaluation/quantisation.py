"""Smaller codes of passages, as an index would store them, and what they cost in quality.

`int8` keeps a byte per dimension, in steps of 1/127 of the dimension's largest absolute value in
the corpus. `binary` keeps the signs, one bit per dimension. Queries stay in fp32 and are scored
against the decoded passages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.ranks import Ranks

NONE = "none"
LEVELS = 127
"""Steps from 0 to the largest absolute value."""
BLOCK = 1 << 14
"""Passages that are encoded at once."""


@dataclass(frozen=True)
class Quantisation:
    """A code, and how many of the best passages are scored again with the whole vectors."""

    code: str
    rescored: int = 0
    """In each pool of each query; 0: none."""

    @classmethod
    def parse(cls, text: str) -> "Quantisation | None":
        """The value of --quantise; None for `none`."""
        match = re.fullmatch(r"none|(int8|binary)(?::([1-9]\d{0,5}))?", text)
        if match is None:
            raise UserError(
                f"--quantise: {text!r} is unknown; give none, int8 or binary, or int8:N or "
                "binary:N to score the best N again with the whole vectors"
            )
        return None if match[1] is None else cls(match[1], int(match[2] or 0))

    def __str__(self) -> str:
        code = "int8 codes" if self.code == "int8" else "one bit per dimension"
        if not self.rescored:
            return f"{code}, scored as they are"
        return f"{code}, the best {self.rescored} of each pool scored again in fp32"

    def bytes_per_passage(self, dimension: int) -> int:
        return dimension if self.code == "int8" else -(-dimension // 8)

    def decoded(self, vectors: np.ndarray, ranks: Ranks) -> np.ndarray:
        """The passages [n, D] of this rank as an index would decode them, in fp32.

        The ranks hold other passages each, and call this together.
        """
        if self.code == "binary":
            unit = np.float32(1 / np.sqrt(vectors.shape[1]))
            return np.where(vectors > 0, unit, -unit)
        step = self._steps(vectors, ranks)
        decoded = np.empty(vectors.shape, np.float32)
        for rows in _blocks(len(vectors)):
            decoded[rows] = np.rint(vectors[rows] / step) * step
        return decoded

    def _steps(self, vectors: np.ndarray, ranks: Ranks) -> np.ndarray:
        """[D] fp32: a step of the codes of each dimension."""
        largest = np.zeros(vectors.shape[1], np.float32)
        for rows in _blocks(len(vectors)):
            largest = np.maximum(largest, np.abs(vectors[rows]).max(axis=0))
        largest = np.max(ranks.gather(largest), axis=0)
        return np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(LEVELS)


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(low, low + BLOCK) for low in range(0, rows, BLOCK))
