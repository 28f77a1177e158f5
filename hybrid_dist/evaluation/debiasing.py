"""Removing language from vectors without training: what costs nothing, to compare training with.

`mean` subtracts the mean of the texts of a language. `directions:K` removes the first K right
singular vectors of its texts (Yang, Yang, Cer and Darve 2021, arXiv 2109.04727). Both are fitted
for queries and for passages, on one half of the ids of a language, and applied to the other half,
so no text is changed by what it has contributed itself. Every vector keeps its norm.

Shapes: n texts of this rank, D dimension, L languages.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.ranks import Ranks

NONE = "none"
FEWEST_TEXTS = 20
"""In a half of a language; with fewer its vectors stay as they are."""
SCALE = 2.0**20
"""Sums are of multiples of 1 / SCALE: exact, so that they do not depend on the number of ranks."""
EXACT_ROWS = 1 << 12
"""Rows whose products of multiples of 1 / SCALE are summed exactly in fp64."""


@dataclass(frozen=True)
class Debiasing:
    """A method, and for `directions` their number."""

    method: str
    directions: int = 0

    @classmethod
    def parse(cls, text: str) -> "Debiasing | None":
        """The value of --debias; None for `none`."""
        match = re.fullmatch(r"(none|mean)|directions(?::([1-9]\d{0,3}))?", text)
        if match is None:
            raise UserError(
                f"--debias: {text!r} is unknown; give none, mean, directions or directions:K"
            )
        if match[1] is None:
            return cls("directions", int(match[2] or 1))
        return cls("mean") if match[1] == "mean" else None

    def __str__(self) -> str:
        what = "language means"
        if self.method == "directions":
            what = f"the first {self.directions} singular vectors of each language"
            what = "the first singular vector of each language" if self.directions == 1 else what
        return f"{what} removed, fitted on the other half of the ids"

    def check(self, dimension: int) -> None:
        if self.directions >= dimension:
            raise UserError(
                f"--debias: directions:{self.directions} leaves nothing of vectors of dimension "
                f"{dimension}; give less"
            )

    def apply(
        self,
        vectors: np.ndarray,
        languages: np.ndarray,
        ids: Sequence[str],
        count: int,
        ranks: Ranks,
    ) -> tuple[np.ndarray, list[int]]:
        """Vectors without their languages [n, D] in fp32, and the codes of languages left alone.

        `languages`: codes [n] below `count`, which is L. The ranks hold other
        texts each, and call this together.
        """
        self.check(vectors.shape[1])
        half = np.array([crc32(name.encode()) >> 16 & 1 for name in ids], dtype=np.int64)
        result = np.array(vectors, dtype=np.float32)
        left_alone = []
        for code in range(count):
            members = [np.flatnonzero((languages == code) & (half == side)) for side in (0, 1)]
            fitted = [self._fit(vectors, rows, ranks) for rows in members]
            if any(basis is None for basis in fitted):
                if ranks.sum(np.array([len(rows) for rows in members])).any():
                    left_alone.append(code)
                continue
            for rows, basis in zip(members, reversed(fitted), strict=True):
                result[rows] = self._remove(vectors[rows], basis)
        return result, left_alone

    def _fit(self, vectors: np.ndarray, rows: np.ndarray, ranks: Ranks) -> np.ndarray | None:
        """The mean [1, D] or the directions [K, D] to remove; None if there are too few texts."""
        count = int(ranks.sum(np.array([len(rows)]))[0])
        if count < FEWEST_TEXTS:
            return None
        dimension = vectors.shape[1]
        if self.method == "mean":
            total = np.zeros(dimension, np.int64)
            for block in _blocks(vectors, rows):
                total += block.sum(axis=0).astype(np.int64)
            return (ranks.sum(total) / (SCALE * count))[None]
        moments = np.zeros((dimension, dimension), np.int64)
        for block in _blocks(vectors, rows):
            moments += (block.T @ block).astype(np.int64)
        _, eigenvectors = np.linalg.eigh(ranks.sum(moments) / SCALE**2)
        basis: np.ndarray = eigenvectors[:, -self.directions :].T
        shared: np.ndarray = ranks.broadcast_from_first(basis)  # processors may round differently
        return shared

    def _remove(self, vectors: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """fp64 vectors without a mean or directions, as long as before."""
        before = vectors.astype(np.float64)
        removed = basis if self.method == "mean" else before @ basis.T @ basis
        after = before - removed
        lengths = np.linalg.norm(after, axis=1, keepdims=True)
        kept = np.linalg.norm(before, axis=1, keepdims=True)
        return np.where(lengths > 0, after * kept / np.where(lengths > 0, lengths, 1), before)


def _blocks(vectors: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows as whole multiples of 1 / SCALE, few enough for exact sums of products."""
    for start in range(0, len(rows), EXACT_ROWS):
        part = vectors[rows[start : start + EXACT_ROWS]]
        yield np.rint(part.astype(np.float64) * SCALE)
