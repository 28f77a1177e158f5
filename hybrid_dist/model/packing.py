"""Packing: the tokens of many texts in one row, and attention within each text.

Shapes:
    N  texts
    T  tokens of all texts, special tokens included
    L  padded length: tokens of the longest text, or more
    H  attention heads
    G  heads of keys and values; each serves H / G heads of queries
    D  width of a head
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from inspect import signature
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NAME = "hybrid_dist_packed"
"""The name under which the attention below is registered with transformers."""
UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Arguments of transformers' attention functions that the one here does not implement."""
ROBERTAS = ("roberta", "camembert", "xmod", "mpnet", "data2vec-text", "longformer")
"""Model types whose position ids start after the padding token's id, as RoBERTa's do."""
WIDEST_HEAD, OLDEST_CARD = 256, (8, 0)
"""Limits of the CUDA kernel for packed texts: the largest head width (a multiple of 8), and the
lowest compute capability (Ampere's)."""


class AttentionMode(Enum):
    """How attention is restricted to the text of each token."""

    KERNEL = auto()
    """torch's CUDA kernel for sequences of different lengths. Nothing is padded."""
    BY_SIZE = auto()
    """One call for each run of texts of the same length. Nothing is padded. Used on CPUs."""
    PADDED = auto()
    """Attention alone is padded. Works on any device, in any precision, and when compiled."""


@dataclass(frozen=True)
class PackedTexts:
    """The concatenated tokens of N texts."""

    ids: Tensor
    """Token ids [T]."""
    positions: Tensor
    """Position of each token in its own text, from 0 [T]."""
    offsets: Tensor
    """Text i is `ids[offsets[i] : offsets[i + 1]]` [N + 1]; int32, as attention kernels expect."""
    sizes: tuple[int, ...]
    """Number of tokens of each text [N], on the host."""

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "PackedTexts":
        """Pack the token ids of each text."""
        sizes = tuple(map(len, texts))
        ids = [np.asarray(text, np.int64) for text in texts]
        positions = [np.arange(size) for size in sizes]
        return cls(
            torch.from_numpy(np.concatenate(ids)),
            torch.from_numpy(np.concatenate(positions)),
            torch.tensor([0, *accumulate(sizes)], dtype=torch.int32),
            sizes,
        )

    def joined(self, other: "PackedTexts") -> "PackedTexts":
        """These texts, then the others."""
        return PackedTexts(
            torch.cat([self.ids, other.ids]),
            torch.cat([self.positions, other.positions]),
            torch.cat([self.offsets, other.offsets[1:] + len(self.ids)]),
            self.sizes + other.sizes,
        )

    def by_size(self) -> tuple["PackedTexts", Tensor, Tensor]:
        """The texts sorted by size; the old index of each token [T] and of each text [N]."""
        sizes = self.offsets.diff()
        texts = sizes.argsort(stable=True)
        sorted_sizes = sizes[texts]
        tokens = self.offsets[:-1][texts].repeat_interleave(sorted_sizes)
        offsets = functional.pad(sorted_sizes.cumsum(0, dtype=torch.int32), (1, 0))
        indices = torch.arange(len(self.ids), device=self.ids.device)
        tokens = tokens + indices - offsets[:-1].repeat_interleave(sorted_sizes)
        by_size = PackedTexts(
            self.ids[tokens], self.positions[tokens], offsets, tuple(sorted(self.sizes))
        )
        return by_size, tokens, texts

    def pinned(self) -> "PackedTexts":
        """The same texts in pinned memory."""
        ids, positions, offsets = (
            part.pin_memory() for part in (self.ids, self.positions, self.offsets)
        )
        return PackedTexts(ids, positions, offsets, self.sizes)

    def to(self, device: torch.device) -> "PackedTexts":
        """The same texts on a device. The host does not wait if they are pinned."""
        ids, positions, offsets = (
            part.to(device, non_blocking=True) for part in (self.ids, self.positions, self.offsets)
        )
        return PackedTexts(ids, positions, offsets, self.sizes)

    def padded(self, pad_token_id: int) -> tuple[dict[str, Tensor], Tensor]:
        """A padded batch for models that cannot be packed; and which entries are tokens [N, L]."""
        longest = max(self.sizes)
        is_token = torch.arange(longest, device=self.ids.device) < self.offsets.diff()[:, None]
        ids = self.ids.new_full((len(self.sizes) * longest,), pad_token_id)
        ids = ids.index_copy(0, self.padded_indices(longest), self.ids).view(-1, longest)
        return {"input_ids": ids, "attention_mask": is_token.long()}, is_token

    def padded_indices(self, longest: int) -> Tensor:
        """The place of each token [T] in a padded batch of [N * longest]."""
        rows = torch.arange(len(self.sizes), device=self.ids.device)
        # with the size given, the host does not wait for the device to find it
        rows = rows.repeat_interleave(self.offsets.diff(), output_size=len(self.ids))
        return rows * longest + self.positions

    def for_attention(self, mode: AttentionMode) -> dict[str, Any]:
        """Keyword arguments of `attention` that describe the texts.

        L is rounded up, so that shapes repeat and compiled graphs are reused.
        """
        if mode is AttentionMode.BY_SIZE:
            return {"sizes": self.sizes}
        if mode is AttentionMode.KERNEL:
            return {"offsets": self.offsets, "longest": _round_up(max(self.sizes), 64)}
        longest, sizes, device = _round_up(max(self.sizes), 8), self.offsets.diff(), self.ids.device
        is_token = torch.arange(longest, device=device) < sizes[:, None]
        return {"padded_indices": self.padded_indices(longest), "is_token": is_token}


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def kernel_refusal(
    head_width: int, dtype: torch.dtype, device: torch.device, needed: Collection[str] = ()
) -> str | None:
    """Why the CUDA kernel for packed texts cannot be used; None if it can, or on a CPU.

    `needed`: arguments of `varlen_attn` that the model needs and older versions of torch lack.
    """
    if device.type != "cuda":
        return None
    from torch.nn.attention.varlen import varlen_attn

    if lacking := sorted(set(needed) - signature(varlen_attn).parameters.keys()):
        return (
            f"the kernel for packed texts of torch {torch.__version__} takes no {lacking[0]}, "
            "which this model needs"
        )
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


@dataclass(frozen=True)
class Scope:
    """Which tokens of its text a token attends to."""

    causal: bool
    """Those before it and itself only."""
    reach: int | None
    """Those at most this many tokens away; None: at any distance."""

    @classmethod
    def of(cls, module: Any, is_causal: bool | None, sliding_window: int | None) -> "Scope":
        """Of an attention module, from the arguments that transformers passes.

        transformers counts a window with the token itself: `sliding_window` is one more than the
        distance, for causal models (Qwen3) and others (ModernBERT, whose config has twice the
        distance as `local_attention`). Masks of a decoder that is made bidirectional count the
        distance alone.
        """
        declared = getattr(module, "is_causal", False) is True
        causal = declared if is_causal is None else is_causal
        if sliding_window is not None and causal >= declared:
            sliding_window -= 1
        return cls(causal, sliding_window)

    @property
    def window_size(self) -> tuple[int, int]:
        """Tokens to the left and right, as `varlen_attn` takes them; -1 is no limit."""
        reach = -1 if self.reach is None else self.reach
        return reach, 0 if self.causal else reach

    def mask(self, size: int, device: torch.device) -> Tensor | None:
        """Whether each token of a text attends to each other [size, size]; None if all do."""
        limited = self.reach is not None and size - 1 > self.reach
        if not limited and not self.causal:
            return None
        places = torch.arange(size, device=device)
        distance = places[:, None] - places
        seen = distance >= 0 if self.causal else torch.ones_like(distance, dtype=torch.bool)
        return seen & (distance.abs() <= self.reach) if self.reach is not None else seen


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    sizes: tuple[int, ...] | None = None,
    offsets: Tensor | None = None,
    longest: int = 0,
    padded_indices: Tensor | None = None,
    is_token: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of each token to the tokens of its own text, as transformers calls it.

    Takes query [1, H, T, D], key and value [1, G, T, D] and what `PackedTexts.for_attention`
    returns; returns [1, T, H, D]. There is no dropout of attention weights, since the CUDA kernel
    has none.
    """
    if unsupported := [name for name in UNSUPPORTED if options.get(name) is not None]:
        raise ValueError(f"its attention has a {unsupported[0]}")
    scope = Scope.of(module, is_causal, sliding_window)
    group = query.shape[1] // key.shape[1]
    if group > 1 and offsets is None:
        key, value = (part.repeat_interleave(group, dim=1) for part in (key, value))
    if sizes is not None:
        return _by_size(query, key, value, sizes, scaling, scope), None
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    if padded_indices is not None and is_token is not None:
        return _padded(query, key, value, padded_indices, is_token, scaling, scope)[None], None
    return _in_kernel(query, key, value, offsets, longest, scaling, scope)[None], None


def _in_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    offsets: Tensor | None,
    longest: int,
    scaling: float | None,
    scope: Scope,
) -> Tensor:
    """Attention of [T, H, D] to [T, G, D] in torch's CUDA kernel for packed texts."""
    from torch.nn.attention.varlen import varlen_attn

    width = query.shape[-1]
    if scaling is not None and scaling != width**-0.5:
        query = query * (scaling * width**0.5)  # the kernel's own scale is 1 / sqrt(width)
    # under autocast, norms and rotation give fp32; it does not cast the kernel's inputs
    query, key = query.to(value.dtype), key.to(value.dtype)
    more: dict[str, Any] = {}  # arguments that older versions of torch lack
    if scope.window_size != (-1, -1):
        more["window_size"] = scope.window_size
    if query.shape[1] != key.shape[1]:
        more["enable_gqa"] = True
    output: Any = varlen_attn(query, key, value, offsets, offsets, longest, longest, **more)  # type: ignore[arg-type]
    return output


def _padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    padded_indices: Tensor,
    is_token: Tensor,
    scaling: float | None,
    scope: Scope,
) -> Tensor:
    """Attention of [T, H, D] in a padded batch.

    Token t becomes row `padded_indices[t]` of [N * L, H, D]; `is_token` [N, L] is the mask of keys.
    """
    texts, longest = is_token.shape

    def pad(packed: Tensor) -> Tensor:
        rows = packed.new_zeros(texts * longest, *packed.shape[1:])
        rows = rows.index_put((padded_indices,), packed)
        return rows.unflatten(0, (texts, longest)).transpose(1, 2)

    mask = is_token[:, None, None]
    if (within := scope.mask(longest, query.device)) is not None:
        # padding attends to itself: a row of a mask without any key would give NaN
        mask = (mask & within) | torch.eye(longest, dtype=torch.bool, device=query.device)
    output = functional.scaled_dot_product_attention(
        pad(query), pad(key), pad(value), attn_mask=mask, scale=scaling
    )
    return output.transpose(1, 2).flatten(0, 1).index_select(0, padded_indices)


def _by_size(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sizes: tuple[int, ...],
    scaling: float | None,
    scope: Scope,
) -> Tensor:
    """Attention of [1, H, T, D], with one call for each run of texts of the same size."""
    runs = [(size, len(list(same))) for size, same in groupby(sizes)]
    tokens = [size * texts for size, texts in runs]
    parts = zip(runs, *(part[0].split(tokens, dim=1) for part in (query, key, value)), strict=True)
    outputs = []
    for (size, texts), *vectors in parts:
        q, k, v = (part.unflatten(1, (texts, size)).transpose(0, 1) for part in vectors)
        output = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=scope.mask(size, query.device), scale=scaling
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[None]


def register() -> None:
    """Register the attention with transformers, which then builds no mask."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)


def first_position(config: Any) -> int:
    """Position id of a text's first token: 0, but pad_token_id + 1 for models like RoBERTa."""
    like_roberta = any(name in config.model_type for name in ROBERTAS)
    return int(config.pad_token_id) + 1 if like_roberta else 0
