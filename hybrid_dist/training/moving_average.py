"""`train.ema`: the exponential moving average of the weights, kept beside them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hybrid_dist.training.checkpoint.strategy_state import StrategyState

PIECE = 1 << 24
"""Weights that are exchanged at once."""


class MovingAverage:
    """The initial weights, then decay * average + (1 - decay) * weights after every update.

    It is kept in fp32 in the parts in which the strategy keeps its fp32 weights, so every rank
    averages its own part and nothing is exchanged. Frozen weights are their own average.
    """

    def __init__(self, decay: float, state: StrategyState) -> None:
        self._decay, self._state = decay, state
        self._average = [weights.clone() for weights in state.own_weights()]

    @torch.no_grad()
    def update(self, skipped: Tensor) -> None:
        """Count the weights of now, unless the flag on the device says that they did not change."""
        share = (1 - self._decay) * ~skipped
        for average, weights in self._pairs():
            average.lerp_(weights, share.to(weights.device))

    @torch.no_grad()
    def restart(self) -> None:
        """Begin with the weights of now."""
        for average, weights in self._pairs():
            average.copy_(weights)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Exchange the average and the fp32 weights, which are back afterwards bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the model compute with the average. All ranks call it together."""
        with self.swapped():
            self._state.renew_weights_in_use()
            yield
        self._state.renew_weights_in_use()

    @torch.no_grad()
    def _swap(self) -> None:
        """In place, since FSDP2 and DeepSpeed hold views; in pieces, which bounds the memory."""
        for average, weights in self._pairs():
            pieces = zip(average.view(-1).split(PIECE), weights.view(-1).split(PIECE), strict=True)
            for one, other in pieces:
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self._average, self._state.own_weights(), strict=True)
