"""NFC normalization of whole columns; nearly all text is normalized, so that is checked first.

The quick check of Unicode's annex 15: text is in NFC if none of its code points may change and no
combining mark follows one of a higher class. It scans bytes, and decodes only where such a code
point may begin.
"""

import unicodedata
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.hashing import offsets_and_bytes

MAY_CHANGE = 255
PIECE = 1 << 18
"""Bytes scanned at once: the intermediate arrays fit in a core's cache."""
_NONE = np.zeros(0, np.int64), np.zeros(0, np.uint8)
_FIRST, _LAST = 0x300, 0x2FFFF
"""Code points outside this range are in NFC, and none is a combining mark."""


def normalize_nfc(texts: pa.Array) -> pa.Array:
    """The texts of a string array in NFC."""
    rows = _doubtful(texts)
    if not len(rows):
        return texts
    given = texts.take(pa.array(rows)).to_pylist()
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    changed = pa.array([unicodedata.normalize("NFC", text) for text in given], texts.type)
    return pc.replace_with_mask(texts, pa.array(mask), changed)


def _doubtful(texts: pa.Array) -> np.ndarray:
    """Positions of the texts that may not be in NFC."""
    offsets, data = offsets_and_bytes(texts)
    letters = [_of_class(data, start) for start in range(0, len(data), PIECE)]
    at, letter_class = map(np.concatenate, zip(*letters, strict=True)) if letters else _NONE
    bad = letter_class == MAY_CHANGE
    bad[1:] |= (letter_class[:-1] > letter_class[1:]) & (
        np.diff(at) <= 4
    )  # close enough to be adjacent
    return np.unique(np.searchsorted(offsets, at[bad], side="right") - 1)


def _of_class(data: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of a piece's code points that may change or are marks, and the class of each."""
    piece = data[start : start + PIECE]
    if piece.max() < chr(_FIRST).encode()[0]:
        return _NONE
    beginnings, pairs, classes = _tables()
    at = start + np.flatnonzero(np.frombuffer(piece.tobytes().translate(beginnings), bool))
    at = at[pairs[data[at].astype(np.uint16) << 8 | data[at + 1]]]
    letter_class = classes[_letters(data, at)]
    return at[letter_class > 0], letter_class[letter_class > 0]


def _letters(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The code points whose UTF-8 begins at these bytes, none of them ASCII."""
    first = data[at].astype(np.int32)
    letters = (first & 0x1F) << 6 | (data[at + 1] & 0x3F)
    longer = np.flatnonzero(first >= 0xE0)
    at, first = at[longer], first[longer]
    letters[longer] = (first & 0x0F) << 12 | (letters[longer] & 0x3F) << 6 | (data[at + 2] & 0x3F)
    longest = longer[first >= 0xF0]
    at = at[first >= 0xF0]
    letters[longest] = (letters[longest] & 0x7FFF) << 6 | (data[at + 3] & 0x3F)
    return np.minimum(letters, _LAST)


@cache
def _tables() -> tuple[bytes, np.ndarray, np.ndarray]:
    """First bytes and first two bytes of code points that may change or are marks, and all classes.

    Byte b is a first byte if `beginnings[b]`; two bytes begin a code point if `pairs[b << 8 | c]`.
    `classes` has the class of every code point.
    """
    classes = np.zeros(_LAST + 1, np.uint8)
    classes[0x1161:0x1176] = classes[0x11A8:0x11C3] = MAY_CHANGE  # Korean vowels and finals
    for code in range(_FIRST, _LAST):
        letter = chr(code)
        classes[code] = classes[code] or unicodedata.combining(letter)
        if not unicodedata.is_normalized("NFC", letter):
            classes[code] = MAY_CHANGE
    for code in range(_LAST):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            classes[int(parts[1], 16)] = MAY_CHANGE  # may compose with the code point before it
    beginnings, pairs = bytearray(256), np.zeros(1 << 16, bool)
    for code in np.flatnonzero(classes).tolist():
        first, second, *_ = chr(code).encode()
        beginnings[first] = 1
        pairs[first << 8 | second] = True
    return bytes(beginnings), pairs, classes
