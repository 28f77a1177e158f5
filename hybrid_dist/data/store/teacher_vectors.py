"""A teacher's vectors of a store's texts, computed once, for distillation.

teacher_queries.npy     the vector of each row's query, one after the other, as float16
teacher_passages.npy    the vector of each distinct passage
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import ArrayWriter, TextColumn, load_mapped

QUERIES, PASSAGES = "teacher_queries.npy", "teacher_passages.npy"
Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors [texts, width]."""


class TeacherVectors:
    """The vectors [rows, D] and [passages, D] of one model."""

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.model: str = description["model"]
        """The teacher's name."""
        self.fingerprint: str = description["fingerprint"]
        """Equal for equal weights, tokenizers and settings of teachers."""
        self.settings: Mapping[str, Any] = description.get("settings", {})
        """How texts became vectors: prefixes, lengths, arithmetic and so on."""
        self.width = int(description["width"])
        """D"""
        self.queries, self.passages = (
            load_mapped(folder / name).reshape(-1, self.width) for name in (QUERIES, PASSAGES)
        )


def write_teacher_vectors(
    folder: Path,
    encode_queries: Encode,
    encode_passages: Encode,
    description: Mapping[str, Any],
) -> dict[str, Any]:
    """Add the vectors to the folder of a new store; returns their description for the manifest."""
    width = 0
    for source, file, encode in (
        (store_format.QUERIES, QUERIES, encode_queries),
        (store_format.PASSAGES, PASSAGES, encode_passages),
    ):
        with ArrayWriter(folder / file, np.float16) as flat:
            for texts in TextColumn(folder / source).arrays():
                vectors = encode(texts.to_pylist())
                width = vectors.shape[1]
                flat.append(vectors.ravel())
    return {**description, "width": width}
