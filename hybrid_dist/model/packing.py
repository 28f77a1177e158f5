"""Texts without padding: the tokens of many in one row, and attention that keeps them apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NAME = "hybrid_dist_packed"
"""What transformers knows the attention below by."""
NOT_PACKED = ("sliding_window", "softcap", "s_aux", "position_bias")
"""What models ask of attention that the one here does not do."""
ROBERTAS = ("roberta", "camembert", "xmod", "mpnet", "data2vec-text", "longformer")
"""Model types that count positions as RoBERTa does."""
WIDEST_HEAD, OLDEST_CARD = 256, (8, 0)
"""What the CUDA kernel for packed texts takes: head widths up to this that 8 divides, and cards of
this compute capability (Ampere) and later."""


class AttentionMode(Enum):
    """How attention keeps the texts of a packed row apart."""

    KERNEL = auto()
    """By torch's CUDA kernel for texts of different lengths: nothing is padded."""
    BY_SIZE = auto()
    """Texts of one length attend in one call: nothing is padded. What CPUs do."""
    PADDED = auto()
    """Queries, keys and values are padded for attention alone: on any device, in any precision, and
    in a graph of the compiler's."""


@dataclass(frozen=True)
class PackedTexts:
    """The tokens of some texts, one text after the other."""

    ids: Tensor
    """[tokens]"""
    places: Tensor
    """Of each token: its place in its own text, from 0."""
    bounds: Tensor
    """Text i's tokens are `bounds[i] : bounds[i + 1]`; int32, as attention kernels want it."""
    sizes: tuple[int, ...]
    """Tokens of each text, on the host."""

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "PackedTexts":
        """Pack the token ids of each text."""
        sizes = tuple(map(len, texts))
        ids = [np.asarray(text, np.int64) for text in texts]
        places = [np.arange(size) for size in sizes]
        return cls(
            torch.from_numpy(np.concatenate(ids)),
            torch.from_numpy(np.concatenate(places)),
            torch.tensor([0, *accumulate(sizes)], dtype=torch.int32),
            sizes,
        )

    def joined(self, other: "PackedTexts") -> "PackedTexts":
        """These texts, then the others."""
        return PackedTexts(
            torch.cat([self.ids, other.ids]),
            torch.cat([self.places, other.places]),
            torch.cat([self.bounds, other.bounds[1:] + len(self.ids)]),
            self.sizes + other.sizes,
        )

    def by_size(self) -> tuple["PackedTexts", Tensor, Tensor]:
        """The same texts, shortest first; where each token and each text stood before."""
        sizes = self.bounds.diff()
        texts = sizes.argsort(stable=True)
        sorted_sizes = sizes[texts]
        tokens = self.bounds[:-1][texts].repeat_interleave(sorted_sizes)
        bounds = functional.pad(sorted_sizes.cumsum(0, dtype=torch.int32), (1, 0))
        numbers = torch.arange(len(self.ids), device=self.ids.device)
        tokens = tokens + numbers - bounds[:-1].repeat_interleave(sorted_sizes)
        moved = PackedTexts(
            self.ids[tokens], self.places[tokens], bounds, tuple(sorted(self.sizes))
        )
        return moved, tokens, texts

    def to(self, device: torch.device) -> "PackedTexts":
        """The same on a device; the host does not wait."""
        if device.type == "cpu":
            return self
        ids, places, bounds = (
            part.pin_memory().to(device, non_blocking=True)
            for part in (self.ids, self.places, self.bounds)
        )
        return PackedTexts(ids, places, bounds, self.sizes)

    def padded(self, filling: int) -> tuple[dict[str, Tensor], Tensor]:
        """One row a text, as models take them that cannot do without; and which tokens are real."""
        longest = max(self.sizes)
        sizes = self.bounds.diff()
        real = torch.arange(longest, device=self.ids.device) < sizes[:, None]
        ids = self.ids.new_full((len(self.sizes), longest), filling)
        ids[real] = self.ids
        return {"input_ids": ids, "attention_mask": real.long()}, real

    def for_attention(self, attends: AttentionMode) -> dict[str, Any]:
        """What `attention` needs to know of the texts. The lengths of the longest are rounded up:
        shapes repeat, and a compiled graph has one number for them, not one for each text."""
        if attends is AttentionMode.BY_SIZE:
            return {"sizes": self.sizes}
        if attends is AttentionMode.KERNEL:
            return {"bounds": self.bounds, "longest": _rounded_up(max(self.sizes), 64)}
        longest, sizes, device = (
            _rounded_up(max(self.sizes), 8),
            self.bounds.diff(),
            self.ids.device,
        )
        rows = torch.arange(len(sizes), device=device)
        rows = rows.repeat_interleave(sizes, output_size=len(self.ids))  # so the host does not wait
        real = torch.arange(longest, device=device) < sizes[:, None]
        return {"at": rows * longest + self.places, "real": real}


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def kernel_refusal(head_width: int, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why the CUDA kernel for packed texts cannot be used; None where it can, and on CPUs."""
    if device.type != "cuda":
        return None
    if dtype not in (torch.float16, torch.bfloat16):
        return "the CUDA kernel for packed texts computes in bf16 and fp16 only"
    if head_width % 8 or head_width > WIDEST_HEAD:
        return (
            f"the CUDA kernel for packed texts takes head widths up to {WIDEST_HEAD} that are "
            f"multiples of 8, and this model's is {head_width}"
        )
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < OLDEST_CARD:
        return (
            "the CUDA kernel for packed texts needs compute capability "
            f"{OLDEST_CARD[0]}.{OLDEST_CARD[1]}, and {torch.cuda.get_device_name(device)} has "
            f"{major}.{minor}"
        )
    return None


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    scaling: float | None = None,
    sizes: tuple[int, ...] | None = None,
    bounds: Tensor | None = None,
    longest: int = 0,
    at: Tensor | None = None,
    real: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Each text attends to itself. Without dropout of attention weights: the kernel has none.

    As transformers calls it: [1, heads, tokens, width] in, [1, tokens, heads, width] out; the texts
    as `Packed.for_attention` describes them.
    """
    if wanted := [name for name in NOT_PACKED if more.get(name) is not None]:
        raise ValueError(f"its attention has a {wanted[0]}")
    if sizes is not None:
        return _by_size(query, key, value, sizes, scaling), None
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    if at is not None and real is not None:
        return _in_padded_rows(query, key, value, at, real, scaling)[None], None
    from torch.nn.attention.varlen import varlen_attn

    width = query.shape[-1]
    if scaling is not None and scaling != width**-0.5:
        query = query * (scaling * width**0.5)  # the kernel's own scale is 1 / sqrt(width)
    attended: Any = varlen_attn(query, key, value, bounds, bounds, longest, longest)  # type: ignore[arg-type]
    return attended[None], None


def _in_padded_rows(
    query: Tensor, key: Tensor, value: Tensor, at: Tensor, real: Tensor, scaling: float | None
) -> Tensor:
    """Attention of [tokens, heads, width], with a row for each text: `at` is each token's place in
    the rows, `real` the places in a row that hold a token."""
    texts, longest = real.shape

    def padded(part: Tensor) -> Tensor:
        rows = part.new_zeros(texts * longest, *part.shape[1:]).index_put((at,), part)
        return rows.unflatten(0, (texts, longest)).transpose(1, 2)

    attended = functional.scaled_dot_product_attention(
        padded(query), padded(key), padded(value), attn_mask=real[:, None, None], scale=scaling
    )
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, at)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _by_size(
    query: Tensor, key: Tensor, value: Tensor, sizes: tuple[int, ...], scaling: float | None
) -> Tensor:
    """Neighbours of one size attend in one call."""
    runs = [(size, len(list(same))) for size, same in groupby(sizes)]
    tokens = [size * texts for size, texts in runs]
    parts = zip(runs, *(part[0].split(tokens, dim=1) for part in (query, key, value)), strict=True)
    attended = []
    for (size, texts), *vectors in parts:
        q, k, v = (part.unflatten(1, (texts, size)).transpose(0, 1) for part in vectors)
        found = functional.scaled_dot_product_attention(q, k, v, scale=scaling)
        attended.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended)[None]


def register() -> None:
    """Make the attention known to transformers, without any mask of its own."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)


def first_position(config: Any) -> int:
    """The position id of a text's first token: RoBERTa's kin begin after the padding's."""
    kin = any(name in config.model_type for name in ROBERTAS)
    return int(config.pad_token_id) + 1 if kin else 0
