"""Curves in a terminal, drawn with braille's dots: two columns and four rows of them a letter."""

from collections.abc import Sequence

import numpy as np

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Of each column of dots, from the top."""
BRAILLE = 0x2800


def curve(
    steps: Sequence[float], values: Sequence[float], last: float, width: int, height: int
) -> list[str]:
    """Lines of `width` letters: values over steps from 0 to `last`, the highest on top. Where many
    steps share a column of dots their mean is drawn; between steps far apart, a straight line."""
    known = _means(steps, values, last, width * 2)
    columns = np.arange(min(known), max(known) + 1)
    drawn = np.interp(columns, [*known], [*known.values()])
    span = (drawn.max() - drawn.min()) or 1
    levels = np.rint((drawn.max() - drawn) / span * (height * 4 - 1)).astype(int)
    letters = [[BRAILLE] * width for _ in range(height)]
    before = None
    for x, y in zip(columns.tolist(), levels.tolist(), strict=True):
        start = y if before is None else before
        for dot in range(min(start, y), max(start, y) + 1):
            letters[dot // 4][x // 2] |= DOTS[x % 2][dot % 4]
        before = y
    return ["".join(map(chr, line)) for line in letters]


def _means(
    steps: Sequence[float], values: Sequence[float], last: float, width: int
) -> dict[int, float]:
    """The mean value of every column that has any, from the left."""
    columns: dict[int, list[float]] = {}
    for step, value in zip(steps, values, strict=True):
        columns.setdefault(min(width - 1, int(step / max(last, 1) * width)), []).append(value)
    return {x: sum(columns[x]) / len(columns[x]) for x in sorted(columns)}
