"""Randomness as a function of keys: the same numbers on every machine, in any order."""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ROUNDS = 4
_FEW = 4096


def key(*parts: str | int) -> int:
    """A 64-bit key for what the parts name."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def keyed_hash(key: int, numbers: np.ndarray) -> np.ndarray:
    """64 well-mixed bits for each number, by splitmix64's finaliser."""
    with np.errstate(over="ignore"):
        x = np.uint64(key) + (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _MIX_1
        x = (x ^ (x >> np.uint64(27))) * _MIX_2
        mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def uniform(key: int, numbers: np.ndarray) -> np.ndarray:
    """For each number a float in [0, 1)."""
    fraction: np.ndarray = (keyed_hash(key, numbers) >> np.uint64(11)) * 2.0**-53
    return fraction


def permuted(key: int, n: int, positions: np.ndarray) -> np.ndarray:
    """Where a permutation of range(n) takes some positions, without building the permutation.

    A Feistel network permutes the smallest power of two that holds n; who lands outside is sent on
    until inside. So the millionth batch of a pass costs what the first does, and no memory. Its
    halves want some bits to mix well: few numbers are sorted by their hashes instead.
    """
    if n <= _FEW:
        return np.argsort(keyed_hash(key, np.arange(n)), kind="stable")[positions]
    bits = (n - 1).bit_length()
    result = np.empty(len(positions), np.int64)
    waiting, values = np.arange(len(positions)), positions.astype(np.uint64)
    while len(waiting):
        values = _feistel(key, bits, values)
        inside = values < n
        result[waiting[inside]] = values[inside]
        waiting, values = waiting[~inside], values[~inside]
    return result


def _feistel(key: int, bits: int, values: np.ndarray) -> np.ndarray:
    """A permutation of range(2 ** bits): each half in turn is masked by a hash of the other."""
    low = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    left, right = values >> low, values & low_mask
    for number in range(_ROUNDS):
        left = left ^ (keyed_hash(key + 2 * number & (1 << 64) - 1, right) & high_mask)
        right = right ^ (keyed_hash(key + 2 * number + 1 & (1 << 64) - 1, left) & low_mask)
    return (left << low) | right
