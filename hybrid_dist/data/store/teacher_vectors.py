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
from hybrid_dist.runtime.files import check_room

QUERIES, PASSAGES = "teacher_queries.npy", "teacher_passages.npy"
CURE = "make room there and start again; the teacher's vectors of an interrupted command are lost"
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
    """Add the vectors to the folder of a new store; returns their description for the manifest.

    A disk without room for them is refused before any text is encoded.
    """
    parts = (
        (TextColumn(folder / store_format.QUERIES), QUERIES, encode_queries),
        (TextColumn(folder / store_format.PASSAGES), PASSAGES, encode_passages),
    )
    width = encode_queries([]).shape[1]
    texts = sum(len(column) for column, *_ in parts)
    check_room(folder, texts * width * np.dtype(np.float16).itemsize, CURE)
    for column, file, encode in parts:
        with ArrayWriter(folder / file, np.float16) as flat:
            for block in column.arrays():
                flat.append(encode(block.to_pylist()).ravel())
    return {**description, "width": width}
