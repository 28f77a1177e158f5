"""Vectors cut to their first values and normalised again: `--dims` (Matryoshka evaluation)."""

import re

import numpy as np

from hybrid_dist.errors import UserError

BLOCK = 1 << 14
"""Rows that are cut at once."""


def parse_dims(text: str) -> tuple[int, ...]:
    """The value of --dims, such as `64,128,256`, in ascending order; empty for none."""
    if not text:
        return ()
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not re.fullmatch(r"[1-9]\d{0,8}", part):
            raise UserError(
                f"--dims: {part!r} is no number of dimensions; give numbers of 1 or more, "
                "separated by commas, as in 64,128,256"
            )
    dims = [int(part) for part in parts]
    for dim in dims:
        if dims.count(dim) > 1:
            raise UserError(f"--dims: {dim} is given twice; give each number once")
    return tuple(sorted(dims))


def check_cuts(dims: tuple[int, ...], width: int) -> None:
    """Refuse cuts that are wider than the vectors."""
    if wide := [dim for dim in dims if dim > width]:
        raise UserError(f"--dims: {wide[0]} is more than the vectors have, {width}; leave it out")


def cut(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The first values [n, dim] of vectors [n, D], divided by their norm; zeros stay zeros.

    Norms are computed in float64, so a row's result is the same in whatever array it stands.
    """
    result = np.empty((len(vectors), dim), np.float32)
    for low in range(0, len(vectors), BLOCK):
        rows = slice(low, low + BLOCK)
        part = vectors[rows, :dim].astype(np.float64)
        norms = np.sqrt(np.square(part).sum(axis=1, keepdims=True))
        result[rows] = part / np.where(norms > 0, norms, 1)
    return result
