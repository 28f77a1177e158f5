"""Character n-grams of normalized texts, as hashes."""

import unicodedata
from collections.abc import Iterable

import numpy as np

DENSE_LANGUAGES = ("zh", "ja", "ko", "yue", "wuu", "lzh")
"""Languages whose scripts carry more information per character."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Of the rolling hash: 2**64 divided by the golden ratio."""


def normalized_text(text: str) -> str:
    """A text in NFC, case-folded, with runs of white space as single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.casefold().split())


def code_points(texts: Iterable[str]) -> np.ndarray:
    """The code points of all texts, one after the other."""
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(joined, np.uint32).astype(np.uint64)


def rolling_hashes(points: np.ndarray, size: int) -> np.ndarray:
    """A hash for every n-gram; `size` is a power of two, and hashes of halves are combined."""
    values, width, multiplier = points, 1, MULTIPLIER
    with np.errstate(over="ignore"):
        while width < size:
            if len(values) <= width:
                return np.zeros(0, np.uint64)
            values = values[:-width] * multiplier + values[width:]
            width, multiplier = 2 * width, multiplier * multiplier
        return (values ^ (values >> np.uint64(29))) * MULTIPLIER
