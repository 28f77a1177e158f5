"""Inference with a trained or published encoder: texts in, vectors out."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from hybrid_dist.config.embedding import Precision
from hybrid_dist.data.store.token_cache import tokenizer_hash
from hybrid_dist.errors import UserError
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.packing import OLDEST_CARD, PackedTexts
from hybrid_dist.model.pretrained import load_pretrained
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime import progress_bar

MAX_BATCH_TOKENS = {"cpu": 8192, "cuda": 65_536}
"""Tokens per batch, padding included. On an H100, batches of 65,536 tokens encode 1.6 times as many
passages per second as batches of 8,192, and take 2.4 GiB for XLM-R large."""
TOKENIZED_AT_ONCE = 16384
"""Texts that are tokenized together and then sorted by length."""


class TextEmbedder:
    """Encodes queries and passages with the prefixes, maximum lengths and pooling of its model."""

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        tokens: TextTokens,
        device: torch.device,
        trust_remote_code: bool = False,
        precision: Precision = "auto",
    ) -> None:
        self.name, self._trust_remote_code = name, trust_remote_code
        self._encoder, self._tokens, self._device = encoder.to(device).eval(), tokens, device
        self._dtype = _dtype(precision, device)
        encoder.select_attention(device, encoder.kernel_refusal_reason(device, self._dtype))

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: torch.device | str | None = None,
        trust_remote_code: bool = False,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        precision: Precision = "auto",
    ) -> "TextEmbedder":
        """Load a run folder, an exported model, or any folder or hub name that transformers loads.

        `device` defaults to the current GPU, or the CPU where there is none. Prefixes replace those
        that the model's files name; many models on the hub name theirs in a README only.
        `precision` is that of the arithmetic: weights stay in fp32.
        """
        encoder, tokens = load_pretrained(
            str(path), trust_remote_code, query_prefix, passage_prefix
        )
        return cls(str(path), encoder, tokens, _device(device), trust_remote_code, precision)

    @property
    def width(self) -> int:
        """D, the width of a vector."""
        return self._encoder.width

    @property
    def tokens(self) -> TextTokens:
        """The tokenizer, with prefixes and maximum lengths."""
        return self._tokens

    @property
    def settings(self) -> dict[str, Any]:
        """How texts become vectors, for reports."""
        content = self._tokens.settings.content()
        spec = {key.replace("_", " "): value for key, value in content.items()}
        arithmetic = "bf16" if self._dtype is torch.bfloat16 else "fp32"
        return spec | {
            "arithmetic": arithmetic,
            "encoding": self._encoder.encoding_description,
            "trust remote code": self._trust_remote_code,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of weights, tokenizer and settings, whatever path they were loaded from."""
        digest = hashlib.sha256(tokenizer_hash(self._tokens.tokenizer).encode())
        digest.update(json.dumps(self.settings, sort_keys=True).encode())
        for name, weights in self._encoder.state_dict().items():
            digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode())
            digest.update(weights.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """L2-normalized float32 vectors [len(texts), dim], one per query, in order."""
        return self._encode(texts, self._tokens.query_ids, "queries")

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        """L2-normalized float32 vectors [len(texts), dim], one per passage, in order."""
        return self._encode(texts, self._tokens.passage_ids, "passages")

    def _encode(
        self, texts: Sequence[str], tokenize: Callable[[Sequence[str]], list[list[int]]], kind: str
    ) -> np.ndarray:
        """Vectors in the order of the texts, which are batched by length."""
        if isinstance(texts, str):
            raise TypeError("expected a list of texts, not one text")
        vectors = np.empty((len(texts), self._encoder.width), np.float32)
        most = MAX_BATCH_TOKENS[self._device.type]
        with progress_bar.part(f"embedding {kind}", len(texts)) as advance:
            for start in range(0, len(texts), TOKENIZED_AT_ONCE):
                ids = tokenize(texts[start : start + TOKENIZED_AT_ONCE])
                for batch in _batches([len(text) for text in ids], most):
                    rows = start + np.array(batch)
                    vectors[rows] = self._embed([ids[i] for i in batch])
                    advance(len(batch))
        self._check_norms(texts, vectors)
        return vectors

    def _embed(self, ids: list[list[int]]) -> np.ndarray:
        """The vectors of one batch of token ids."""
        packed = PackedTexts.of(ids)
        packed = packed.pinned() if self._device.type == "cuda" else packed
        packed = packed.to(self._device)
        with torch.inference_mode(), self._autocast():
            vectors: np.ndarray = self._encoder(packed).float().cpu().numpy()
        return vectors

    def _check_norms(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Reject vectors whose norm is not 1: NaN, or zero because their norm overflowed."""
        norms = np.linalg.norm(vectors, axis=1)
        broken = np.flatnonzero(~(np.abs(norms - 1) < 0.1))
        if len(broken):
            first = "; ".join(repr(texts[i][:60]) for i in broken[:3])
            raise UserError(
                f"{self.name}: {len(broken)} of {len(texts)} texts got vectors that are not finite "
                f"or not of norm 1 (first: {first}); the model's weights are broken, or overflow "
                f"in {self.settings['arithmetic']}"
            )

    def _autocast(self) -> torch.autocast:
        bf16 = self._dtype is torch.bfloat16
        return torch.autocast(self._device.type, torch.bfloat16, enabled=bf16)


def _device(device: torch.device | str | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in get_args(Precision):
        raise ValueError(f"precision: {precision!r}; choose {', '.join(get_args(Precision))}")
    fixed = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return fixed[precision] if precision in fixed else _fastest_dtype(device)


def _fastest_dtype(device: torch.device) -> torch.dtype:
    """bf16 on GPUs, where fp32 is many times slower; fp32 on CPUs and on GPUs older than Ampere,
    which only emulate bf16."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < OLDEST_CARD:
        return torch.float32
    return torch.bfloat16


def _batches(lengths: Sequence[int], max_tokens: int) -> Iterable[list[int]]:
    """Indices of texts sorted by length, in batches of at most `max_tokens` tokens when padded."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[i] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    yield batch
