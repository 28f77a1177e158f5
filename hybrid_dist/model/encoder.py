"""A bi-encoder with shared weights: a Hugging Face encoder, pooled and normalised."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hybrid_dist.config.schema import LEARNED_TEMPERATURE
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
    """The texts of some rows: their queries; their passages, then their hard negatives."""

    queries: PackedTexts
    candidates: PackedTexts

    def to(self, device: torch.device) -> "Chunk":
        return Chunk(self.queries.to(device), self.candidates.to(device))


Encoded = tuple[Tensor, Tensor]
"""Vectors of a chunk: of its queries and of its candidates."""


class Encoder(nn.Module):
    """Texts in, one L2-normalised fp32 vector each out."""

    padding_reason: str | None = "packing was not asked for"
    """Why this model pads texts; None: it computes no padding."""
    attends = AttentionMode.BY_SIZE
    """How packed texts are kept apart."""
    attention_padding_reason: str | None = None
    """Why attention alone pads packed texts; None: it does not."""

    def __init__(self, backbone: Any, pooling: str) -> None:
        super().__init__()
        self.backbone, self.pooling = backbone, pooling
        self.width: int = backbone.config.hidden_size
        """Numbers in a vector."""
        self._first_position = first_position(backbone.config)
        self._attention = backbone.config._attn_implementation

    def forward(self, texts: PackedTexts, words: Tensor | None = None) -> Tensor:
        """`words`: the tokens' word embeddings, where they were looked up before."""
        if self.padding_reason is not None:
            vectors = self._pooled(self._in_rows_of_one_length(texts), texts)
        elif self.attends is not AttentionMode.BY_SIZE:
            vectors = self._pooled(self._in_one_row(texts, words), texts)
        else:  # texts of one size beside each other attend together
            texts, tokens, order = texts.by_size()
            hidden = self._in_one_row(texts, None if words is None else words[tokens])
            vectors = self._pooled(hidden, texts)[order.argsort()]
        return functional.normalize(vectors, dim=-1)

    @property
    def encoding_description(self) -> str:
        """How texts are encoded, for people."""
        if self.padding_reason is not None:
            return f"padded: {self.padding_reason}"
        no_dropout = "attention weights have no dropout"
        if self.attends is AttentionMode.PADDED:
            return f"packed but for attention ({self.attention_padding_reason}); {no_dropout}"
        return f"packed: no padding is computed, and {no_dropout}"

    def embed_words(self, ids: Tensor) -> Tensor:
        """Word embeddings of some token ids."""
        return self.backbone.get_input_embeddings()(ids)

    def _in_one_row(self, texts: PackedTexts, words: Tensor | None) -> Tensor:
        """The last layer of every token [tokens, width]."""
        row = {"input_ids": texts.ids[None]} if words is None else {"inputs_embeds": words[None]}
        return self.backbone(
            **row,
            position_ids=texts.places[None] + self._first_position,
            **texts.for_attention(self.attends),
        ).last_hidden_state[0]

    def _in_rows_of_one_length(self, texts: PackedTexts) -> Tensor:
        rows, real = texts.padded(self.backbone.config.pad_token_id or 0)
        return self.backbone(**rows).last_hidden_state[real]

    def _pooled(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        if self.pooling == "mean":
            bounds = texts.bounds.long()
            return torch.segment_reduce(_wide(hidden), "mean", offsets=bounds, unsafe=True)
        first = hidden[texts.bounds[:-1].long()]
        if self.pooling == "labse":
            first = self.backbone.pooler(first[:, None])
        return _wide(first)

    def pack(self, why_not: str | None) -> None:
        """Compute no padding; or pad, for the reason given."""
        self.padding_reason = why_not
        wanted = NAME if why_not is None else self._attention
        if wanted != self.backbone.config._attn_implementation:
            register()
            self.backbone.set_attn_implementation(wanted)

    def kernel_refusal_reason(self, device: torch.device, dtype: torch.dtype) -> str | None:
        """What stands against torch's CUDA kernel for packed texts; None where it can be used, and
        where it is not needed."""
        if self.padding_reason is not None:
            return None
        config = self.backbone.config
        head_width = getattr(config, "head_dim", None) or self.width // config.num_attention_heads
        return kernel_refusal(head_width, dtype, device)

    def select_attention(self, device: torch.device, kernel_refusal_reason: str | None) -> None:
        """Choose how the texts of a packed row are kept apart."""
        self.attention_padding_reason = kernel_refusal_reason
        if kernel_refusal_reason is not None:
            self.attends = AttentionMode.PADDED
        else:
            self.attends = AttentionMode.KERNEL if device.type == "cuda" else AttentionMode.BY_SIZE


def _wide(numbers: Tensor) -> Tensor:
    """At least fp32."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()


class Temperature(nn.Module):
    """A learned temperature: a module, so that FSDP2 can keep it in fp32 beside bf16 weights."""

    LOWEST, HIGHEST = LEARNED_TEMPERATURE

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([start]).log())

    def forward(self) -> Tensor:
        free = _wide(self.log).exp()
        bounded = free.clamp(self.LOWEST, self.HIGHEST)
        return free + (bounded - free).detach()  # a bound holds the value, not the gradient


class BiEncoder(nn.Module):
    """The trained module: all chunks of a rank's rows go through one forward."""

    def __init__(self, encoder: Encoder, temperature: float, learn_temperature: bool) -> None:
        super().__init__()
        self.encoder, self._fixed_temperature = encoder, temperature
        self._no_split_modules = _layers(encoder.backbone)  # what FSDP2 shards by
        self.temperature = Temperature(temperature) if learn_temperature else None

    def forward(self, chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of queries, of candidates (all passages, then all hard negatives), in the order
        of the rows, and the temperature.

        Several chunks are encoded one after the other in this one forward, all but the last under
        activation checkpointing: memory of one chunk, and to DDP, FSDP and ZeRO an ordinary step.
        The backward pass begins with the last chunk, which frees its activations before the others
        are computed again.
        """
        with _no_autocast_cache():
            if len(chunks) == 1:
                encoded = [self._encode(chunks[0])]
            elif self.encoder.padding_reason is not None:
                encoded = [_checkpointed(self._encode, chunk) for chunk in chunks[:-1]]
                encoded.append(self._encode(chunks[-1]))
            else:
                encoded = self._encode_all(chunks)
        queries = torch.cat([part for part, _ in encoded])
        if self.temperature is not None:
            return queries, _candidates(encoded), self.temperature()
        return queries, _candidates(encoded), queries.new_full((1,), self._fixed_temperature)

    def _encode_all(self, chunks: Sequence[Chunk]) -> list[Encoded]:
        """Look words up once for all chunks: the gradient of the table is as large as the
        vocabulary, and would else be made anew for each."""
        parts = [part.ids for chunk in chunks for part in (chunk.queries, chunk.candidates)]
        used, places = torch.cat(parts).unique(return_inverse=True)
        found = self.encoder.embed_words(used)
        kind = found.dtype

        def encode(chunk: Chunk, table: Tensor, at: Tensor) -> Encoded:
            return self._encode(chunk, table.index_select(0, at).to(kind))

        table = _wide(found)  # a frequent word's gradients are summed in it: never in bf16
        sizes = [len(chunk.queries.ids) + len(chunk.candidates.ids) for chunk in chunks]
        *others, last = zip(chunks, places.split(sizes), strict=True)
        encoded = [_checkpointed(encode, chunk, table, at) for chunk, at in others]
        return [*encoded, encode(last[0], table, last[1])]

    def _encode(self, chunk: Chunk, words: Tensor | None = None) -> Encoded:
        """Vectors of a chunk; `words` are its word embeddings, where they were looked up."""
        if self.encoder.padding_reason is not None:  # queries are shorter: they pad less alone
            return self.encoder(chunk.queries), self.encoder(chunk.candidates)
        vectors = self.encoder(chunk.queries.joined(chunk.candidates), words)
        queries = len(chunk.queries.sizes)
        return vectors[:queries], vectors[queries:]


def _checkpointed(encode: Callable[..., Encoded], chunk: Chunk, *tensors: Tensor) -> Encoded:
    """`encode(chunk, *tensors)` without its activations, which the backward pass computes again.

    torch saves the random state only of devices that a tensor among the arguments is on, and does
    not look into a Chunk: without the ids, dropout on a GPU would draw other masks the second time.
    """
    return checkpoint(
        lambda _, *given: encode(chunk, *given), chunk.queries.ids, *tensors, use_reentrant=False
    )


@contextmanager
def _no_autocast_cache() -> Iterator[None]:
    """Have autocast cast a weight at each use, in checkpoints' recomputation too.

    Its cache would give all chunks one bf16 copy of each weight, and autograd would sum the
    gradients of the chunks in bf16 before it casts them to fp32.
    """
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)


def _candidates(encoded: Sequence[Encoded]) -> Tensor:
    """The passages of all chunks, as many as their queries, then their hard negatives."""
    passages = [candidates[: len(queries)] for queries, candidates in encoded]
    negatives = [candidates[len(queries) :] for queries, candidates in encoded]
    return torch.cat(passages + negatives)


def _layers(backbone: Any) -> list[str]:
    """The classes of a model's layers: not of its embeddings, which are used outside them too."""
    table = backbone.get_input_embeddings()
    holders = {type(part).__name__ for part in backbone.modules() if table in part.modules()}
    return [name for name in backbone._no_split_modules or [] if name not in holders]


def recompute_layers(encoder: Encoder) -> None:
    """Keep only layers' inputs in the forward pass, and compute the rest again in the backward."""
    backbone: Any = encoder.backbone
    backbone.config.use_cache = False
    old_name = "gradient_checkpointing_enable"  # transformers before 5.23 has only this one
    name = "activation_checkpointing_enable"
    enable = getattr(backbone, name if hasattr(backbone, name) else old_name)
    enable({"use_reentrant": False})
