"""Randomness as a function of keys: the same numbers on every machine, in any order."""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


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


def permutation(key: int, n: int) -> np.ndarray:
    """A permutation of range(n). By sorting hashes, so that it hangs on no library's generator."""
    return np.argsort(keyed_hash(key, np.arange(n)), kind="stable")
