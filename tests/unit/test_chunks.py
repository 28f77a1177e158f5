"""Chunks change memory and nothing else: neither dropout masks on a device nor bf16 gradients."""

from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from hybrid_dist.config.schema import Model
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.infonce import info_nce
from hybrid_dist.model.encoder import BiEncoder, Chunk, recompute_layers
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import Packed

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
        Chunk(Packed.of(queries[i : i + size]), Packed.of(passages[i : i + size]))
        for i in range(0, PAIRS, size)
    ]


def gradient(model: BiEncoder, chunks: list[Chunk], bf16: bool = False) -> Tensor:
    """Of InfoNCE, all parameters in one vector; on the model's device."""
    model.zero_grad()
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        vectors = model([chunk.to(device) for chunk in chunks])
    info_nce(*vectors, BatchLayout(0, (PAIRS,), None), symmetric=False).loss.backward()
    return torch.cat([weights.grad.flatten() for weights in model.parameters()])  # type: ignore[union-attr]


def relative_error(found: Tensor, true: Tensor) -> float:
    found, true = found.double().cpu(), true.double().cpu()
    return float((found - true).norm() / true.norm())


# --- bf16


HOW = ("packed", "padded", "labse", "layers recomputed")


@pytest.mark.parametrize("how", HOW)
def test_bf16_gradients_are_as_exact_in_64_chunks_as_in_one(how: str, tmp_path: Path) -> None:
    assert_bf16_gradients_do_not_depend_on_chunks(how, tmp_path, "cpu")


def assert_bf16_gradients_do_not_depend_on_chunks(how: str, folder: Path, device: str) -> None:
    model = bi_encoder(folder, pooling="labse" if how == "labse" else "mean")
    if how == "padded":
        model.encoder.pack("a test of padding")
    exact = deepcopy(model).double()
    exact.encoder.pack("the judge pads")
    true = gradient(exact, chunks_of(PAIRS))
    if how == "layers recomputed":
        recompute_layers(model.encoder)
    model.to(device)
    one, many = (
        relative_error(gradient(model, chunks_of(size), bf16=True), true) for size in (PAIRS, 1)
    )
    assert 1e-3 < one < 0.02, "these are no bf16 gradients"
    assert abs(many - one) < 1e-3, f"{one:.2%} in one chunk, {many:.2%} in {PAIRS}"


@pytest.mark.parametrize("how", ["packed", "padded"])
def test_every_chunk_but_the_last_is_encoded_again(how: str, tmp_path: Path) -> None:
    """The backward pass begins with the last chunk: to keep its activations costs no memory."""
    model = bi_encoder(tmp_path)
    if how == "padded":
        model.encoder.pack("a test of padding")
    events: list[str] = []
    layer = model.encoder.backbone.encoder.layer[-1]
    layer.register_forward_hook(lambda *_: events.append("forward"))
    layer.register_full_backward_hook(lambda *_: events.append("backward"))
    gradient(model, chunks_of(PAIRS // 4))
    calls = 1 if how == "packed" else 2  # padded: queries and passages apart
    again = (["forward"] * calls + ["backward"] * calls) * 3
    assert events == ["forward"] * 4 * calls + ["backward"] * calls + again


def test_the_autocast_cache_is_as_before_after_a_forward(tmp_path: Path) -> None:
    model = bi_encoder(tmp_path)
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=enabled):
            model(chunks_of(32))
            assert torch.is_autocast_cache_enabled() == enabled


# --- dropout


class Device:
    """A stand-in for an accelerator and torch's module for it: a random generator of its own.

    torch saves and restores a device's generator only for checkpoints that are given a tensor on
    that device. Here every tensor counts as being on device 0.
    """

    _initialized = True

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def device(self, number: int) -> Any:
        return nullcontext()

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def get_rng_state(self, number: int = 0) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor, number: int = 0) -> None:
        self.generator.set_state(state)

    def states(self, *args: Any) -> tuple[list[int], list[Tensor]]:
        """What torch's get_device_states gives for a checkpoint's arguments."""
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(args)):
            return [0], [self.get_rng_state()]
        return [], []

    def dropout(
        self, rows: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        kept = torch.rand(rows.shape, generator=self.generator) >= p
        return rows * kept / (1 - p) if training else rows


KIND = "privateuseone"
"""A type of device that torch knows, and that has nothing here."""


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    device = Device()
    monkeypatch.setattr(torch, KIND, device, raising=False)
    monkeypatch.setattr(torch, "get_device_module", lambda kind: device)
    monkeypatch.setattr(torch_checkpoint, "_infer_device_type", lambda *args: KIND)
    monkeypatch.setattr(torch_checkpoint, "get_device_states", device.states)
    monkeypatch.setattr(functional, "dropout", device.dropout)
    is_available = torch.amp.is_autocast_available
    monkeypatch.setattr(
        torch.amp, "is_autocast_available", lambda kind: kind != KIND and is_available(kind)
    )
    yield device


@pytest.mark.parametrize("how", ["packed", "padded"])
def test_recomputed_chunks_draw_the_same_dropout_masks_on_a_device(
    how: str, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bi_encoder(tmp_path, dropout=0.1)
    if how == "padded":
        model.encoder.pack("a test of padding")
    start = device.get_rng_state()
    found = gradient(model, chunks_of(16))
    assert not torch.equal(device.get_rng_state(), start), "no dropout was drawn on the device"
    device.set_rng_state(start)
    monkeypatch.setattr(
        "hybrid_dist.model.encoder.checkpoint", lambda run, *args, **more: run(*args)
    )
    kept = gradient(model, chunks_of(16))
    assert relative_error(found, kept) < 1e-6
