"""A teacher's vectors of a store's texts, computed once, for distillation.

teacher_queries.npy     the vector of each row's query, one after the other, as float16
teacher_passages.npy    the vector of each distinct passage
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import ArrayWriter, TextColumn, load_mapped
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.files import check_room

QUERIES, PASSAGES = "teacher_queries.npy", "teacher_passages.npy"
CURE = "make room there and start again; the teacher's vectors of an interrupted command are lost"
Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors [texts, width]."""
FEWEST_TEXTS = 20
"""Queries, or passages, of a language whose mean is subtracted."""
BLOCK = 1 << 14
"""Vectors that are centered at once."""


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
    debias: bool = False,
) -> dict[str, Any]:
    """Add the vectors to the folder of a new store; returns their description for the manifest.

    A disk without room for them is refused before any text is encoded. `debias`: subtract the mean
    vector of each language.
    """
    parts = (
        (TextColumn(folder / store_format.QUERIES), QUERIES, encode_queries, "queries"),
        (TextColumn(folder / store_format.PASSAGES), PASSAGES, encode_passages, "passages"),
    )
    width = encode_queries([]).shape[1]
    texts = sum(len(column) for column, *_ in parts)
    copies = 2 if debias else 1
    check_room(folder, copies * texts * width * np.dtype(np.float16).itemsize, CURE)
    for column, file, encode, kind in parts:
        with (
            ArrayWriter(folder / file, np.float16) as flat,
            progress_bar.part(f"embedding {kind}", len(column)),
        ):
            for block in column.arrays():
                flat.append(encode(block.to_pylist()).ravel())
    if debias:
        starts = np.load(folder / "language_starts.npy").tolist()
        both = starts, _passage_starts(folder, starts)
        is_centered = [min(sizes) >= FEWEST_TEXTS for sizes in np.diff(both).T.tolist()]
        for name, of_languages in zip((QUERIES, PASSAGES), both, strict=True):
            _subtract_means(folder / name, width, of_languages, is_centered)
    return {**description, "width": width}


def _passage_starts(folder: Path, language_starts: Sequence[int]) -> list[int]:
    """Passages of language l are `starts[l] : starts[l + 1]`: they are numbered language by
    language, those that are only negatives included."""
    names = ("passage_of", "negatives", "negative_starts")
    passage_of, negatives, negative_starts = (load_mapped(folder / f"{name}.npy") for name in names)
    starts = [0]
    for first, last in pairwise(language_starts):
        of_rows = passage_of[first:last].max()
        of_negatives = negatives[negative_starts[first] : negative_starts[last]].max(initial=-1)
        starts.append(int(max(of_rows, of_negatives)) + 1)
    return starts


def _subtract_means(
    file: Path, width: int, starts: Sequence[int], is_centered: Sequence[bool]
) -> None:
    """Rewrite vectors of which language l has `starts[l] : starts[l + 1]`: those of the marked
    languages are centered and normalized again."""
    vectors, draft = load_mapped(file).reshape(-1, width), file.with_suffix(".part")
    with ArrayWriter(draft, np.float16) as flat:
        for (start, end), center in zip(pairwise(starts), is_centered, strict=True):
            blocks = [vectors[low : min(low + BLOCK, end)] for low in range(start, end, BLOCK)]
            mean = sum(block.sum(0, dtype=np.float64) for block in blocks) / max(1, end - start)
            for block in blocks:
                flat.append((_centered(block, mean) if center else block).ravel())
    draft.replace(file)


def _centered(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Without the mean, of norm 1; a vector that is the mean stays."""
    centered = vectors - mean
    norms = np.linalg.norm(centered, axis=1, keepdims=True)
    return np.divide(centered, norms, out=vectors.astype(np.float64), where=norms > 0)
