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


def _forward(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, _: Tensor, longest: int, *more: Any
) -> tuple[Tensor, Tensor, Tensor]:
    assert int(bounds.diff().max()) <= longest
    attended = [
        functional.scaled_dot_product_attention(q, k, v).transpose(0, 1)
        for q, k, v in _texts(bounds, query, key, value)
    ]
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
    *more: Any,
) -> tuple[Tensor, ...]:
    scale, gradients = query.shape[-1] ** -0.5, []
    for parts in _texts(bounds, gradient, query, key, value):
        up, q, k, v = (part.float() for part in parts)
        shares = (q @ k.transpose(1, 2) * scale).softmax(-1)
        of_shares = up @ v.transpose(1, 2)
        of_scores = shares * (of_shares - (of_shares * shares).sum(-1, keepdim=True)) * scale
        gradients.append(
            (of_scores @ k, of_scores.transpose(1, 2) @ q, shares.transpose(1, 2) @ up)
        )
    joined = (
        torch.cat([part.transpose(0, 1) for part in of]) for of in zip(*gradients, strict=True)
    )
    return tuple(part.to(query.dtype) for part in joined)
