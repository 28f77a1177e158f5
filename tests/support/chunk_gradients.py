"""Gradients of one batch in chunks of any size."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid_dist.config.schema import Model
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.infonce import info_nce
from hybrid_dist.model.encoder import BiEncoder, Chunk
from hybrid_dist.model.layers import recompute_layers
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import PackedTexts

PAIRS, WORDS = 64, 300


def bi_encoder(folder: Path, **changes: Any) -> BiEncoder:
    """A small XLM-R whose random weights tell texts apart."""
    from transformers import AutoConfig

    AutoConfig.for_model(
        "xlm-roberta",
        vocab_size=WORDS,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=40,
        pad_token_id=1,
        type_vocab_size=1,
    ).save_pretrained(folder)
    options = Model(
        name_or_path=str(folder),
        init="scratch",
        **{"dropout": 0.0, "attention_dropout": 0.0} | changes,
    )
    torch.manual_seed(0)
    model = BiEncoder(build(options, read_config(options)), 0.05, learn_temperature=True).train()
    for name, weights in model.named_parameters():
        if name.endswith("weight") and weights.ndim == 2:
            torch.nn.init.normal_(weights, std=0.08)
    return model


def chunks_of(size: int) -> list[Chunk]:
    """The same pairs in chunks of `size`; a few frequent words are in most texts."""
    numbers = np.random.default_rng(0)

    def text(shortest: int, longest: int) -> list[int]:
        words = np.minimum(numbers.zipf(1.3, int(numbers.integers(shortest, longest))), WORDS - 6)
        return [5 + int(word) for word in words]

    queries = [text(4, 10) for _ in range(PAIRS)]
    passages = [query + text(4, 20) for query in queries]
    return [
        Chunk(PackedTexts.of(queries[i : i + size]), PackedTexts.of(passages[i : i + size]))
        for i in range(0, PAIRS, size)
    ]


def gradient(model: BiEncoder, chunks: list[Chunk], bf16: bool = False) -> Tensor:
    """Of InfoNCE, all parameters in one vector; on the model's device."""
    model.zero_grad()
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        queries, candidates, temperature = model([chunk.to(device) for chunk in chunks])
    layout = BatchLayout(0, (PAIRS,), None)
    info_nce(queries, candidates, temperature, layout).loss.backward()
    return torch.cat([weights.grad.flatten() for weights in model.parameters()])  # type: ignore[union-attr]


def relative_error(actual: Tensor, true: Tensor) -> float:
    actual, true = actual.double().cpu(), true.double().cpu()
    return float((actual - true).norm() / true.norm())


HOW = ("packed", "padded", "labse", "layers recomputed")


def assert_bf16_gradients_do_not_depend_on_chunks(how: str, folder: Path, device: str) -> None:
    model = bi_encoder(folder, pooling="labse" if how == "labse" else "mean")
    if how == "padded":
        model.encoder.set_padding("a test of padding")
    exact = deepcopy(model).double()
    exact.encoder.set_padding("the judge pads")
    true = gradient(exact, chunks_of(PAIRS))
    if how == "layers recomputed":
        recompute_layers(model.encoder.backbone)
    model.to(device)
    one, many = (
        relative_error(gradient(model, chunks_of(size), bf16=True), true) for size in (PAIRS, 1)
    )
    assert 1e-3 < one < 0.02, "these are no bf16 gradients"
    assert abs(many - one) < 1e-3, f"{one:.2%} in one chunk, {many:.2%} in {PAIRS}"
