"""A saved encoder at work: texts in, vectors out, as the evaluator and users need them."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_dist.config.schema import Model
from hybrid_dist.data.store.tokens import tokenizer_hash
from hybrid_dist.errors import UserError
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, positions, read_config
from hybrid_dist.model.packing import OLDEST_CARD, PackedTexts
from hybrid_dist.model.repository import is_folder
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens

TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 65_536}
"""Tokens of one call, padding included. On an H100 calls of 65,536 embed 1.6 times as many passages
a second as calls of 8,192, and take 2.4 GiB for a model of XLM-R large's size."""
TEXTS_AT_ONCE = 16384


class TextEmbedder:
    """Embeds queries and passages with a model folder's own prefixes, lengths and pooling."""

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        tokens: TextTokens,
        device: torch.device,
        trust_remote_code: bool = False,
    ) -> None:
        self.name, self._trust_remote_code = name, trust_remote_code
        self._encoder, self._tokens, self._device = encoder.to(device).eval(), tokens, device
        self._dtype = _fastest_dtype(device)
        encoder.select_attention(device, encoder.kernel_refusal_reason(device, self._dtype))

    @classmethod
    def load(
        cls, name: str, device: torch.device, trust_remote_code: bool = False
    ) -> "TextEmbedder":
        """From a run folder, a saved model, or any folder or name that transformers loads."""
        folder = Path(name)
        if is_folder(name) and (folder / "config.yaml").is_file():
            if not (folder / "model").is_dir():
                raise UserError(f"{name}: this run has no model/ yet; name one of its checkpoints/")
            folder = folder / "model"
        where = str(folder) if is_folder(str(folder)) else name
        model = Model(name_or_path=where, trust_remote_code=trust_remote_code)
        config = read_config(model)
        settings = EncoderSpec.load(where).within(positions(config))
        tokens = TextTokens.load(where, settings, trust_remote_code)
        tokens.check(config)
        encoder = build(replace(model, pooling=settings.pooling), config)
        return cls(name, encoder, tokens, device, trust_remote_code)

    @property
    def settings(self) -> dict[str, Any]:
        """How texts become vectors, for reports."""
        told = {
            key.replace("_", " "): value for key, value in asdict(self._tokens.settings).items()
        }
        arithmetic = "bf16" if self._dtype is torch.bfloat16 else "fp32"
        return told | {
            "arithmetic": arithmetic,
            "encoding": self._encoder.encoding_description,
            "trust remote code": self._trust_remote_code,
        }

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights, tokenizer and settings, wherever they were loaded from."""
        digest = hashlib.sha256(tokenizer_hash(self._tokens.tokenizer).encode())
        digest.update(json.dumps(self.settings, sort_keys=True).encode())
        for name, weights in self._encoder.state_dict().items():
            digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode())
            digest.update(weights.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._embed(texts, self._tokens.query_ids)

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._embed(texts, self._tokens.passage_ids)

    def _embed(
        self, texts: Sequence[str], tokenise: Callable[[Sequence[str]], list[list[int]]]
    ) -> np.ndarray:
        """Vectors in the order of the texts; encoded in the order of their lengths."""
        vectors = np.empty((len(texts), self._encoder.width), np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            ids = tokenise(texts[start : start + TEXTS_AT_ONCE])
            for some in _portions([len(text) for text in ids], TOKENS_AT_ONCE[self._device.type]):
                packed = PackedTexts.of([ids[i] for i in some]).to(self._device)
                with torch.inference_mode(), self._arithmetic():
                    vectors[start + np.array(some)] = self._encoder(packed).float().cpu().numpy()
        self._check(texts, vectors)
        return vectors

    def _check(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Refuse vectors that are not of length 1: NaN, or zero where their norm overflowed."""
        lengths = np.linalg.norm(vectors, axis=1)
        broken = np.flatnonzero(~(np.abs(lengths - 1) < 0.1))
        if len(broken):
            first = "; ".join(repr(texts[i][:60]) for i in broken[:3])
            raise UserError(
                f"{self.name}: its vectors of {len(broken)} of {len(texts)} texts are not finite "
                f"numbers of length 1 (first: {first}); its weights are broken, or overflow in "
                f"{self.settings['arithmetic']}"
            )

    def _arithmetic(self) -> torch.autocast:
        bf16 = self._dtype is torch.bfloat16
        return torch.autocast(self._device.type, torch.bfloat16, enabled=bf16)


def _fastest_dtype(device: torch.device) -> torch.dtype:
    """bf16 on GPUs, whose fp32 is many times slower; fp32 on CPUs, and on cards before Ampere,
    which only emulate bf16."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < OLDEST_CARD:
        return torch.float32
    return torch.bfloat16


def _portions(sizes: Sequence[int], most: int) -> Iterable[list[int]]:
    """Texts in the order of their sizes, cut where a portion's padded size would exceed `most`."""
    portion: list[int] = []
    for i in sorted(range(len(sizes)), key=sizes.__getitem__):
        if portion and sizes[i] * (len(portion) + 1) > most:
            yield portion
            portion = []
        portion.append(i)
    yield portion
