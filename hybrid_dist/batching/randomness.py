"""Random numbers as a function of a key: the same on every machine, in any order."""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ROUNDS = 4
_SMALL = 4096
"""Permutations of at most this many numbers are computed by sorting."""


def key(*parts: str | int) -> int:
    """A 64-bit key derived from the parts."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def keyed_hash(key: int, numbers: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each number, by splitmix64's finalizer."""
    with np.errstate(over="ignore"):
        x = np.uint64(key) + (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _MIX_1
        x = (x ^ (x >> np.uint64(27))) * _MIX_2
        mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def uniform(key: int, numbers: np.ndarray) -> np.ndarray:
    """A float in [0, 1) for each number."""
    fraction: np.ndarray = (keyed_hash(key, numbers) >> np.uint64(11)) * 2.0**-53
    return fraction


def permuted(key: int, n: int, positions: np.ndarray) -> np.ndarray:
    """The values at some positions of a pseudorandom permutation of range(n).

    A Feistel network permutes range(2 ** bits), the smallest that holds n, and is applied again to
    values of n or more (cycle walking). So any batch of a pass takes the same time, and the
    permutation is never built. With few bits it mixes poorly: small ranges are sorted by hash.
    """
    if n <= _SMALL:
        return np.argsort(keyed_hash(key, np.arange(n)), kind="stable")[positions]
    bits = (n - 1).bit_length()
    result = np.empty(len(positions), np.int64)
    pending, values = np.arange(len(positions)), positions.astype(np.uint64)
    while len(pending):
        values = _feistel(key, bits, values)
        done = values < n
        result[pending[done]] = values[done]
        pending, values = pending[~done], values[~done]
    return result


def _feistel(key: int, bits: int, values: np.ndarray) -> np.ndarray:
    """A permutation of range(2 ** bits): each half in turn is XORed with a hash of the other."""
    low = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    left, right = values >> low, values & low_mask
    for number in range(_ROUNDS):
        left = left ^ (keyed_hash(key + 2 * number & (1 << 64) - 1, right) & high_mask)
        right = right ^ (keyed_hash(key + 2 * number + 1 & (1 << 64) - 1, left) & low_mask)
    return (left << low) | right
