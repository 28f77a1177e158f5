"""A stand-in for torch's CUDA kernel for packed texts, which no CPU has: the same operator, a text
at a time, with a backward pass of its own."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def register() -> None:
    """Give torch's operator a CPU kernel; what calls it stays as it is."""
    import torch.nn.attention.varlen as varlen

    kernel: Any = varlen._varlen_attn
    kernel.register_kernel("cpu")(_forward)
    backward: Any = varlen._varlen_attn_backward
    backward.register_kernel("cpu")(_backward)


def _texts(bounds: Tensor, *parts: Tensor) -> list[list[Tensor]]:
    """Each text's [heads, tokens, width] of each part."""
    edges = bounds.tolist()
    return [[part[a:b].transpose(0, 1) for part in parts] for a, b in pairwise(edges)]


def _seen(size: int, is_causal: bool, window: list[int] | None) -> Tensor:
    """Which keys each query sees, as the kernel counts: tokens to the left and right; -1: all."""
    left, right = window or (-1, -1)
    ahead = torch.arange(size) - torch.arange(size)[:, None]
    seen = (ahead >= -left) | (left < 0)
    return seen & ((ahead <= right) | (right < 0)) & ((ahead <= 0) | (not is_causal))


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    _: Tensor,
    longest: int,
    longest_keys: int,
    is_causal: bool = False,
    scale: float | None = None,
    window: list[int] | None = None,
    enable_gqa: bool = False,
    *more: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    assert int(bounds.diff().max()) <= longest
    attended = []
    for q, k, v in _texts(bounds, query, key, value):
        seen = _seen(q.shape[1], is_causal, window)
        out = functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=seen, enable_gqa=enable_gqa
        )
        attended.append(out[0].transpose(0, 1))
    unused = torch.zeros(2, dtype=torch.uint64)
    return torch.cat(attended), torch.zeros(query.shape[1], query.shape[0]), unused


def _backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    log_sums: Tensor,
    bounds: Tensor,
    _: Tensor,
    longest: int,
    longest_keys: int,
    is_causal: bool,
    state: Tensor,
    scale: float | None = None,
    window: list[int] | None = None,
) -> tuple[Tensor, ...]:
    scale, gradients = query.shape[-1] ** -0.5, []
    group = query.shape[1] // key.shape[1]
    for parts in _texts(bounds, gradient, query, key, value):
        up, q, k, v = (part.float() for part in parts)
        k, v = (part.repeat_interleave(group, 0) for part in (k, v))
        scores = q @ k.transpose(1, 2) * scale
        seen = _seen(q.shape[1], is_causal, window)
        shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        of_shares = up @ v.transpose(1, 2)
        of_scores = shares * (of_shares - (of_shares * shares).sum(-1, keepdim=True)) * scale
        of_keys, of_values = of_scores.transpose(1, 2) @ q, shares.transpose(1, 2) @ up
        summed = (part.unflatten(0, (-1, group)).sum(1) for part in (of_keys, of_values))
        gradients.append((of_scores @ k, *summed))
    joined = (
        torch.cat([part.transpose(0, 1) for part in of]) for of in zip(*gradients, strict=True)
    )
    return tuple(part.to(query.dtype) for part in joined)
