"""A schedule whose shares may change over the steps, without a walk over earlier steps.

Streams are the leaves of a binary tree. Each node hands its steps to its two halves by a quota: of
its first m steps the left half gets what it has earned by then, rounded. So the number of steps
that any stream has had before a step takes one descent of the tree, and with d nodes above it a
stream is within d / 2 steps of its share after any number of steps. Integer arithmetic: exact, and
the same on every machine.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WHOLE = 1 << 40
"""The integer share that stands for all steps."""


@dataclass(frozen=True)
class Leaf:
    """A stream as (kind, choice), with its shares at the first and at the last step."""

    kind: int
    choice: int
    source: int
    start: float
    end: float


class _Node:
    """Some leaves, and what they earn together."""

    def __init__(self, leaves: Sequence[Leaf], steps: int) -> None:
        self.leaf, self._steps = leaves[0], steps
        self._start = sum(round(leaf.start * _WHOLE) for leaf in leaves)
        self._end = sum(round(leaf.end * _WHOLE) for leaf in leaves)
        self._unit = 2 * steps * _WHOLE
        """What a step counts in `earned`."""
        self.halves: tuple[_Node, _Node] | None = None
        if len(leaves) > 1:
            middle = _middle(leaves)
            self.halves = _Node(leaves[:middle], steps), _Node(leaves[middle:], steps)

    def earned(self, step: int) -> int:
        """What the first steps of the run earn: at step u, a share of start + (end - start) *
        (u + 1/2) / steps; from `steps` on, the end's."""
        if step <= self._steps:
            return 2 * self._steps * self._start * step + (self._end - self._start) * step**2
        return self.earned(self._steps) + 2 * self._steps * self._end * (step - self._steps)

    def of_left(self, left: "_Node", number: int) -> int:
        """How many of the node's first steps, `number` in all, go to `left`, its first half.

        What both halves have earned when the node has earned `number` adds up to it, and neither
        sum falls, so one step more adds one to either side.
        """
        due = number * self._unit
        # a node without a share at the end has its last steps at the rates of the last share
        last = self._steps + number * _WHOLE // self._end + 2 if self._end else self._steps
        step = bisect_right(range(last), due, key=self.earned) - 1
        begin, rate = self.earned(step), self.earned(step + 1) - self.earned(step)
        of_left = left.earned(step)
        part = of_left * rate + (due - begin) * (left.earned(step + 1) - of_left)
        return (2 * part + rate * self._unit) // (2 * rate * self._unit)


def _middle(leaves: Sequence[Leaf]) -> int:
    """Where to split: between kinds if there are several, else between sources."""
    for borders in (
        [at for at in range(1, len(leaves)) if leaves[at].kind != leaves[at - 1].kind],
        [at for at in range(1, len(leaves)) if leaves[at].source != leaves[at - 1].source],
    ):
        if borders:
            return borders[(len(borders) - 1) // 2]
    return len(leaves) // 2


class QuotaSchedule:
    """The stream of every step, and the batch's number in that stream."""

    def __init__(self, leaves: Sequence[Leaf], steps: int) -> None:
        """`steps`: over which the shares change. Leaves are in the order of kind and source."""
        smallest = 1 / _WHOLE
        self._leaves = [leaf for leaf in leaves if max(leaf.start, leaf.end) > smallest]
        self._root = _Node(self._leaves, steps)
        self._steps = steps

    def __call__(self, step: int) -> tuple[int, int, int]:
        """Kind, choice and batch number of a step (from 0)."""
        node, number = self._root, step
        while node.halves is not None:
            left, right = node.halves
            before = node.of_left(left, number)
            is_left = node.of_left(left, number + 1) > before
            node, number = (left, before) if is_left else (right, number - before)
        return node.leaf.kind, node.leaf.choice, number

    def batch_counts(self, steps: int) -> Counter[tuple[int, int]]:
        """The number of batches of each (kind, choice) within the first steps."""
        counts = Counter[tuple[int, int]]()
        pending = [(self._root, steps)]
        while pending:
            node, number = pending.pop()
            if node.halves is None:
                counts[node.leaf.kind, node.leaf.choice] = number
            elif number:
                left, right = node.halves
                of_left = node.of_left(left, number)
                pending += [(left, of_left), (right, number - of_left)]
        return +counts

    def wanted(self, steps: int) -> dict[tuple[int, int], float]:
        """The share of each (kind, choice) in the first steps, by the settings."""
        changing = min(steps, self._steps)
        weight = np.array([changing * (1 - changing / (2 * self._steps)), 0.0])
        weight[1] = steps - weight[0]
        return {
            (leaf.kind, leaf.choice): float(weight @ (leaf.start, leaf.end)) / steps
            for leaf in self._leaves
        }
