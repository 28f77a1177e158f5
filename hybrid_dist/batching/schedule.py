"""The stream of each step, and how many batches earlier steps drew from it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hybrid_dist.batching.randomness import key, uniform

_BLOCK = 1 << 14


class KindSequence:
    """A sequence of batch kinds in which every prefix is within one batch of the weights.

    Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 1980): of the
    kinds that are due for another batch, take the one with the earliest deadline. With k kinds the
    error of any prefix is at most 1 - 1 / (2k - 2). Integer arithmetic, so that errors do not
    accumulate.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        whole = [round(weight / sum(weights) * 2**40) for weight in weights]
        self._weights = {kind: weight for kind, weight in enumerate(whole) if weight}
        self._total = sum(whole)
        self._taken = dict.fromkeys(self._weights, 0)
        self._slack = max(1, 2 * len(self._weights) - 2)
        self._step = 0

    def take(self, n: int) -> np.ndarray:
        """The next n kinds."""
        return np.fromiter((self._next() for _ in range(n)), np.int8, n)

    def _next(self) -> int:
        self._step += 1
        best, best_deadline = -1, float("inf")
        for kind, weight in self._weights.items():
            earned = self._step * weight - self._taken[kind] * self._total
            if earned * self._slack >= self._total or len(self._weights) == 1:
                deadline = (self._total - self._total / self._slack - earned) / weight
                if deadline < best_deadline:
                    best, best_deadline = kind, deadline
        self._taken[best] += 1
        return best


class Schedule:
    """The kind of every step, its stream, and the batch's number in that stream.

    A stream is identified by (kind, choice), where the choice is drawn with the probabilities
    `shares[kind]`. Steps are computed in blocks on first use and kept, at 11 bytes per step.
    """

    def __init__(self, weights: Sequence[float], shares: Sequence[np.ndarray], seed: int) -> None:
        self._kinds = KindSequence(weights)
        self._weights, self._shares = np.array(weights) / sum(weights), shares
        self._edges = [np.cumsum(share) / share.sum() if len(share) else share for share in shares]
        self._keys = [key(seed, "choice", kind) for kind in range(len(shares))]
        self._used = [np.zeros(len(share), np.int64) for share in shares]
        self._kind = np.empty(0, np.int8)
        self._choice = np.empty(0, np.int16)
        self._number = np.empty(0, np.int64)

    def __call__(self, step: int) -> tuple[int, int, int]:
        """Kind, choice and batch number of a step (from 0)."""
        while step >= len(self._kind):
            self._extend()
        return int(self._kind[step]), int(self._choice[step]), int(self._number[step])

    def batch_counts(self, steps: int) -> Counter[tuple[int, int]]:
        """The number of batches of each (kind, choice) within the first steps."""
        while steps > len(self._kind):
            self._extend()
        codes = self._kind[:steps].astype(np.int64) << 16 | self._choice[:steps]
        counts = zip(*np.unique(codes, return_counts=True), strict=True)
        return Counter({divmod(int(code), 1 << 16): int(count) for code, count in counts})

    def wanted(self, steps: int) -> dict[tuple[int, int], float]:
        """The share of each (kind, choice) by the settings, in any number of steps."""
        return {
            (kind, choice): float(weight * share)
            for kind, weight in enumerate(self._weights)
            for choice, share in enumerate(self._shares[kind])
        }

    def _extend(self) -> None:
        first = len(self._kind)
        kinds = self._kinds.take(max(_BLOCK, first))  # doubling: few copies
        choices = np.zeros(len(kinds), np.int16)
        numbers = np.empty(len(kinds), np.int64)
        for kind, edges in enumerate(self._edges):
            steps = np.flatnonzero(kinds == kind)
            drawn = uniform(self._keys[kind], first + steps)
            choices[steps] = np.minimum(np.searchsorted(edges, drawn, side="right"), len(edges) - 1)
            for choice in np.unique(choices[steps]):
                chosen = steps[choices[steps] == choice]
                numbers[chosen] = self._used[kind][choice] + np.arange(len(chosen))
                self._used[kind][choice] += len(chosen)
        self._kind = np.concatenate([self._kind, kinds])
        self._choice = np.concatenate([self._choice, choices])
        self._number = np.concatenate([self._number, numbers])
