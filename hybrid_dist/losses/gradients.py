"""Losses whose gradients are computed in the forward pass, where the logits are."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _WithGradients(torch.autograd.Function):
    """A loss whose gradients were computed along with it: the backward pass scales them."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor], *inputs: Tensor) -> Tensor:
        ctx.dtypes = [part.dtype for part in inputs]
        ctx.save_for_backward(*gradients)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        # Scale before casting: unscaled, small gradients would underflow in fp16.
        scaled = (part * upstream[0].to(part.dtype) for part in ctx.saved_tensors)
        cast = (part.to(dtype) for part, dtype in zip(scaled, ctx.dtypes, strict=True))
        return (None, None, *cast)


def with_gradients(loss: Tensor, gradients: Sequence[Tensor], *inputs: Tensor) -> Tensor:
    """The loss, with these gradients of its inputs."""
    with_them: Tensor = _WithGradients.apply(loss, gradients, *inputs)
    return with_them
