"""A bi-encoder with shared weights: a Hugging Face encoder with pooling and normalization.

Shapes:
    N  texts
    T  tokens of all texts
    D  width of a vector: the hidden size of the backbone
    B  queries on this rank, each with its passage
    M  hard negatives on this rank
    P  translations on this rank, where the run aligns any
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hybrid_dist.config.schema import LEARNED_TEMPERATURE
from hybrid_dist.model.direction import is_causal, window_of
from hybrid_dist.model.packing import (
    NAME,
    AttentionMode,
    PackedTexts,
    first_position,
    kernel_refusal,
    register,
)


@dataclass(frozen=True)
class Chunk:
    """The texts of some of a rank's rows, which are encoded together."""

    queries: PackedTexts
    candidates: PackedTexts
    """The passages of the queries, in their order, then the hard negatives, then translations."""
    num_translations: int = 0
    """Texts at the end of `candidates` that are not candidates, but are encoded to be aligned: in
    the same call, so that ranks that hold none make as many calls as the others."""

    def pinned(self) -> "Chunk":
        """The same in pinned memory."""
        return replace(self, queries=self.queries.pinned(), candidates=self.candidates.pinned())

    def to(self, device: torch.device) -> "Chunk":
        return replace(self, queries=self.queries.to(device), candidates=self.candidates.to(device))


Encoded = tuple[Tensor, Tensor]
"""Vectors of a chunk's queries and of its candidates."""


class Encoder(nn.Module):
    """Maps texts to L2-normalized fp32 vectors [N, D]."""

    padding_reason: str | None = "packing was not requested"
    """Why texts are padded; None if they are packed."""
    attention_mode = AttentionMode.BY_SIZE
    """How attention is restricted to each text of a packed row."""
    attention_padding_reason: str | None = None
    """Why attention alone is padded; None if it is not."""

    def __init__(self, backbone: Any, pooling: str) -> None:
        super().__init__()
        self.backbone, self.pooling = backbone, pooling
        self.width: int = backbone.config.hidden_size
        """D, the width of a vector."""
        self._first_position = first_position(backbone.config)
        self._attention = backbone.config._attn_implementation
        takes_cache = "use_cache" in signature(backbone.forward).parameters
        self._options = {"use_cache": False} if takes_cache else {}  # of decoders: keys, values

    def forward(self, texts: PackedTexts, token_embeddings: Tensor | None = None) -> Tensor:
        """Vectors [N, D]. `token_embeddings` [T, D] are looked up if None."""
        if self.padding_reason is not None:
            vectors = self._pool(self._hidden_padded(texts), texts)
        elif self.attention_mode is not AttentionMode.BY_SIZE:
            vectors = self._pool(self._hidden_packed(texts, token_embeddings), texts)
        else:  # sorted, since neighbours of the same size share one attention call
            texts, tokens, order = texts.by_size()
            if token_embeddings is not None:
                token_embeddings = token_embeddings[tokens]
            hidden = self._hidden_packed(texts, token_embeddings)
            vectors = self._pool(hidden, texts)[order.argsort()]
        return functional.normalize(vectors, dim=-1)

    @property
    def encoding_description(self) -> str:
        """Whether texts are packed or padded, and why, for messages and reports."""
        if self.padding_reason is not None:
            return f"padded: {self.padding_reason}"
        no_dropout = "attention weights have no dropout"
        if self.attention_mode is AttentionMode.PADDED:
            return f"packed but for attention ({self.attention_padding_reason}); {no_dropout}"
        return f"packed: no padding is computed, and {no_dropout}"

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Token embeddings [T, D] of token ids [T]."""
        return self.backbone.get_input_embeddings()(ids)

    def _hidden_packed(self, texts: PackedTexts, token_embeddings: Tensor | None) -> Tensor:
        """The last hidden states [T, D], computed without padding."""
        if token_embeddings is None:
            row = {"input_ids": texts.ids[None]}
        else:
            row = {"inputs_embeds": token_embeddings[None]}
        return self.backbone(
            **row,
            position_ids=texts.positions[None] + self._first_position,
            **texts.for_attention(self.attention_mode),
            **self._options,
        ).last_hidden_state[0]

    def _hidden_padded(self, texts: PackedTexts) -> Tensor:
        """The last hidden states [T, D], computed in a padded batch."""
        batch, _ = texts.padded(self.backbone.config.pad_token_id or 0)
        hidden = self.backbone(**batch, **self._options).last_hidden_state
        return hidden.flatten(0, 1).index_select(0, texts.padded_indices(hidden.shape[1]))

    def _pool(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """One vector per text [N, D] from the hidden states [T, D].

        Another pooling also has to be named in config/schema.py, model/spec.py and model/saving.py,
        and in model/loading.py if it needs a pooler.
        """
        if self.pooling == "mean":
            offsets = texts.offsets.long()
            return torch.segment_reduce(
                _at_least_fp32(hidden), "mean", offsets=offsets, unsafe=True
            )
        if self.pooling == "last":
            return _at_least_fp32(hidden[texts.offsets[1:].long() - 1])
        first = hidden[texts.offsets[:-1].long()]
        if self.pooling == "labse":
            first = self.backbone.pooler(first[:, None])
        elif self.pooling != "cls":
            raise ValueError(f"unknown pooling {self.pooling!r}")
        return _at_least_fp32(first)

    def set_padding(self, reason: str | None) -> None:
        """Pad texts from now on, for a reason; or pack them, if it is None."""
        self.padding_reason = reason
        attention = NAME if reason is None else self._attention
        if attention != self.backbone.config._attn_implementation:
            register()
            self.backbone.set_attn_implementation(attention)

    def kernel_refusal_reason(self, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why torch's CUDA kernel for packed texts cannot be used; None if it can or need not."""
        if self.padding_reason is not None:
            return None
        config = self.backbone.config
        head_width = getattr(config, "head_dim", None) or self.width // config.num_attention_heads
        return kernel_refusal(head_width, dtype, device, self._kernel_arguments())

    def _kernel_arguments(self) -> set[str]:
        """Arguments of torch's kernel for packed texts that not every model needs."""
        config, modules = self.backbone.config, list(self.backbone.modules())
        heads = config.num_attention_heads
        grouped = (getattr(config, "num_key_value_heads", None) or heads) != heads
        limited = is_causal(self.backbone) or any(map(window_of, modules))
        return ({"enable_gqa"} if grouped else set()) | ({"window_size"} if limited else set())

    def select_attention(self, device: torch.device, kernel_refusal_reason: str | None) -> None:
        """Choose the AttentionMode: padded if the kernel is refused, else the device's best."""
        self.attention_padding_reason = kernel_refusal_reason
        if kernel_refusal_reason is not None:
            self.attention_mode = AttentionMode.PADDED
        else:
            on_gpu = device.type == "cuda"
            self.attention_mode = AttentionMode.KERNEL if on_gpu else AttentionMode.BY_SIZE


def _at_least_fp32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


class Temperature(nn.Module):
    """A learned temperature [1]: a module, so that FSDP2 keeps it in fp32 beside bf16 weights."""

    LOWEST, HIGHEST = LEARNED_TEMPERATURE

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([start]).log())

    def forward(self) -> Tensor:
        free = _at_least_fp32(self.log).exp()
        bounded = free.clamp(self.LOWEST, self.HIGHEST)
        return free + (bounded - free).detach()  # bounds the value, but not the gradient


class BiEncoder(nn.Module):
    """The module that is trained: one forward pass encodes all chunks of a rank's rows."""

    def __init__(self, encoder: Encoder, temperature: float, learn_temperature: bool) -> None:
        super().__init__()
        self.encoder, self._fixed_temperature = encoder, temperature
        self._no_split_modules = _layer_classes(encoder.backbone)  # FSDP2 shards these
        self.temperature = Temperature(temperature) if learn_temperature else None

    def forward(self, chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of queries [B, D] and of candidates [B + M + P, D], and the temperature [1].

        Candidates are the passages of all chunks in the order of the queries, then all hard
        negatives, then all translations. Chunks are encoded in turn, all but the last under
        activation checkpointing. This takes the memory of one chunk, and DDP, FSDP and ZeRO see an
        ordinary step. The backward pass starts with the last chunk and frees its activations before
        it recomputes the others.
        """
        with _no_autocast_cache():
            if len(chunks) == 1:
                encoded = [self._encode(chunks[0])]
            elif self.encoder.padding_reason is not None:
                encoded = [_checkpointed(self._encode, chunk) for chunk in chunks[:-1]]
                encoded.append(self._encode(chunks[-1]))
            else:
                encoded = self._encode_all(chunks)
        queries, candidates = torch.cat([part for part, _ in encoded]), _candidates(encoded, chunks)
        if self.temperature is not None:
            return queries, candidates, self.temperature()
        return queries, candidates, queries.new_full((1,), self._fixed_temperature)

    def _encode_all(self, chunks: Sequence[Chunk]) -> list[Encoded]:
        """Encode packed chunks with one lookup of token embeddings for all of them.

        The gradient of the embedding table is as large as the vocabulary; with a lookup per chunk
        it would be allocated for each.
        """
        parts = [part.ids for chunk in chunks for part in (chunk.queries, chunk.candidates)]
        unique_ids, inverse = torch.cat(parts).unique(return_inverse=True)
        embeddings = self.encoder.embed_tokens(unique_ids)
        dtype = embeddings.dtype

        def encode(chunk: Chunk, table: Tensor, rows: Tensor) -> Encoded:
            return self._encode(chunk, table.index_select(0, rows).to(dtype))

        # gradients of frequent tokens are summed in the table: in fp32, never in bf16
        table = _at_least_fp32(embeddings)
        tokens = [len(chunk.queries.ids) + len(chunk.candidates.ids) for chunk in chunks]
        *others, last = zip(chunks, inverse.split(tokens), strict=True)
        encoded = [_checkpointed(encode, chunk, table, rows) for chunk, rows in others]
        return [*encoded, encode(last[0], table, last[1])]

    def _encode(self, chunk: Chunk, token_embeddings: Tensor | None = None) -> Encoded:
        """Vectors of a chunk. `token_embeddings` are looked up if None."""
        if self.encoder.padding_reason is not None:  # queries are shorter: alone they pad less
            return self.encoder(chunk.queries), self.encoder(chunk.candidates)
        vectors = self.encoder(chunk.queries.joined(chunk.candidates), token_embeddings)
        queries = len(chunk.queries.sizes)
        return vectors[:queries], vectors[queries:]


def _checkpointed(encode: Callable[..., Encoded], chunk: Chunk, *tensors: Tensor) -> Encoded:
    """`encode(chunk, *tensors)` under activation checkpointing.

    torch saves the random state only of the devices of tensor arguments, and does not look into a
    Chunk. Without the ids as an argument, dropout on a GPU would draw other masks in the
    recomputation.
    """
    return checkpoint(
        lambda _, *inputs: encode(chunk, *inputs), chunk.queries.ids, *tensors, use_reentrant=False
    )


@contextmanager
def _no_autocast_cache() -> Iterator[None]:
    """Disable autocast's cache of bf16 weights, in recomputation too: `checkpoint` restores it.

    With the cache, all chunks share one bf16 copy of each weight, and autograd sums the gradients
    of the chunks in bf16 before it casts them to fp32.
    """
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)


def _candidates(encoded: Sequence[Encoded], chunks: Sequence[Chunk]) -> Tensor:
    """The passages of all chunks, then their hard negatives and their translations
    [B + M + P, D]."""
    passages, negatives, translations = [], [], []
    for (queries, candidates), chunk in zip(encoded, chunks, strict=True):
        last = len(candidates) - chunk.num_translations
        passages.append(candidates[: len(queries)])
        negatives.append(candidates[len(queries) : last])
        if chunk.num_translations:
            translations.append(candidates[last:])
    return torch.cat(passages + negatives + translations)


def _layer_classes(backbone: Any) -> list[str]:
    """Names of the layer classes, without those that hold the token embeddings, which are used
    outside of them too."""
    table = backbone.get_input_embeddings()
    holders = {type(part).__name__ for part in backbone.modules() if table in part.modules()}
    return [name for name in backbone._no_split_modules or [] if name not in holders]
