"""Chunks change memory and nothing else: neither dropout masks on a device nor bf16 gradients."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from tests.support.chunk_gradients import (
    HOW,
    PAIRS,
    assert_bf16_gradients_do_not_depend_on_chunks,
    bi_encoder,
    chunks_of,
    gradient,
    relative_error,
)

# --- bf16


@pytest.mark.parametrize("how", HOW)
def test_bf16_gradients_are_as_exact_in_64_chunks_as_in_one(how: str, tmp_path: Path) -> None:
    assert_bf16_gradients_do_not_depend_on_chunks(how, tmp_path, "cpu")


@pytest.mark.parametrize("how", ["packed", "padded"])
def test_every_chunk_but_the_last_is_encoded_again(how: str, tmp_path: Path) -> None:
    """The backward pass begins with the last chunk: to keep its activations costs no memory."""
    model = bi_encoder(tmp_path)
    if how == "padded":
        model.encoder.set_padding("a test of padding")
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
        model.encoder.set_padding("a test of padding")
    start = device.get_rng_state()
    chunked = gradient(model, chunks_of(16))
    assert not torch.equal(device.get_rng_state(), start), "no dropout was drawn on the device"
    device.set_rng_state(start)
    monkeypatch.setattr(
        "hybrid_dist.model.encoder.checkpoint", lambda run, *args, **more: run(*args)
    )
    kept = gradient(model, chunks_of(16))
    assert relative_error(chunked, kept) < 1e-6
