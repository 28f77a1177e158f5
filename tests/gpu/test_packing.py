"""On a card: the kernel for packed texts, attention that pads, and compiled layers."""

import json
import os
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

import hybrid_dist
from hybrid_dist.model.compiling import compile_layers
from hybrid_dist.model.encoder import BiEncoder, Encoder
from hybrid_dist.model.packing import AttentionMode, PackedTexts, attention
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.initial_model import choose_attention
from tests.support.compiled_chunks import chunks
from tests.support.encoders import DECODERS, SIZES, encoder_of
from tests.support.launch import train
from tests.support.runs import column, options, succeed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here")
CUDA = torch.device("cuda")
AMPERE = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def on_card(encoder: Encoder, dtype: torch.dtype) -> Encoder:
    choose_attention(encoder, dtype, Ranks(0, 1, CUDA))
    return encoder.cuda().eval()


def vectors_and_gradient(encoder: Encoder, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    encoder.zero_grad()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        vectors = encoder(PackedTexts.of(SIZES).to(CUDA))
    (
        vectors * torch.linspace(-1, 1, vectors.numel(), device=CUDA).view_as(vectors).sin()
    ).sum().backward()
    parts = [part.grad.flatten() for part in encoder.parameters() if part.grad is not None]
    return vectors.detach(), torch.cat(parts)


def apart(actual: Tensor, true: Tensor) -> float:
    return float((actual - true).norm() / true.norm())


@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.float32, 1e-4), (torch.float16, 5e-3), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("width", [32, 104, 1056], ids=["heads of 8", "of 26", "of 264"])
def test_any_head_width_and_precision_trains(
    width: int, dtype: torch.dtype, most: float, tmp_path: Path
) -> None:
    """Without padding where the kernel takes it, else with attention padded: as padded fp32."""
    encoder = on_card(encoder_of("xlm-roberta", tmp_path, {"hidden_size": width}), dtype)
    with_kernel = AMPERE and width == 32 and dtype != torch.float32
    assert encoder.attention_mode is (
        AttentionMode.KERNEL if with_kernel else AttentionMode.PADDED
    ), encoder.encoding_description
    actual, gradient = vectors_and_gradient(encoder, dtype)
    encoder.set_padding("a test")
    wanted, true = vectors_and_gradient(encoder, torch.float32)
    assert apart(actual, wanted) < most
    assert apart(gradient, true) < 3 * most


@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.float32, 1e-4), (torch.float16, 5e-3), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("kind", ["modernbert", *DECODERS])
def test_windows_and_decoders_train_on_a_card(
    kind: str, dtype: torch.dtype, most: float, tmp_path: Path
) -> None:
    encoder = on_card(encoder_of(kind, tmp_path, {"head_dim": 8}), dtype)
    with_kernel = AMPERE and dtype != torch.float32
    assert encoder.attention_mode is (
        AttentionMode.KERNEL if with_kernel else AttentionMode.PADDED
    ), encoder.encoding_description
    actual, gradient = vectors_and_gradient(encoder, dtype)
    encoder.set_padding("a test")
    wanted, true = vectors_and_gradient(encoder, torch.float32)
    assert apart(actual, wanted) < most
    assert apart(gradient, true) < 3 * most


@pytest.mark.skipif(not AMPERE, reason="the kernel needs compute capability 8.0")
@pytest.mark.parametrize(
    ("scaling", "more"),
    [
        (None, {}),
        (0.2, {}),
        (None, {"sliding_window": 65}),
        (None, {"is_causal": True}),
        (None, {"is_causal": True, "sliding_window": 33}),
    ],
)
@pytest.mark.parametrize("key_heads", [16, 4])
def test_the_kernel_and_its_gradients_equal_float64(
    scaling: float | None, more: dict[str, Any], key_heads: int
) -> None:
    """Texts of 1 to 256 tokens, at and beside the edges of the kernel's blocks."""
    heads, width = 16, 64
    torch.manual_seed(0)
    sizes = (1, 2, 3, 127, 128, 129, 255, 256, *torch.randint(1, 257, (40,)).tolist())
    offsets = torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=CUDA)
    inputs = [
        torch.randn(1, count, sum(sizes), width, device=CUDA).bfloat16().requires_grad_()
        for count in (heads, key_heads, key_heads)
    ]
    q, k, v = inputs
    output, _ = attention(None, q, k, v, None, scaling, offsets=offsets, longest=256, **more)
    exact = [part.detach().double().requires_grad_() for part in inputs]
    q, k, v = exact
    wanted, _ = attention(None, q, k, v, None, scaling, sizes=sizes, **more)
    gradient = torch.randn_like(wanted)
    output.backward(gradient.bfloat16())
    wanted.backward(gradient.bfloat16().double())
    assert apart(output.double(), wanted) < 1e-2
    for part, true in zip(inputs, exact, strict=True):
        assert part.grad is not None and true.grad is not None
        assert apart(part.grad.double(), true.grad) < 1e-2


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["packed", "padded"])
def test_compiled_layers_have_one_graph_and_the_same_gradients(how: str, tmp_path: Path) -> None:
    def gradients(model: BiEncoder, step: int) -> Tensor:
        model.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            queries, candidates, _ = model([chunk.to(CUDA) for chunk in chunks(step)])
        (queries @ candidates.T).square().sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    made: list[BiEncoder] = []
    for _ in range(2):
        sizes = {"max_position_embeddings": 144}
        encoder = encoder_of("xlm-roberta", tmp_path, sizes, dropout=0.0, attention_dropout=0.0)
        if how == "padded":
            encoder.set_padding("a test")
        made.append(BiEncoder(on_card(encoder, torch.bfloat16), 0.05, False).train())
    plain, compiled = made
    compile_layers(compiled.encoder)
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(20):
            actual = gradients(compiled, step)
            if step < 3:
                assert apart(actual, gradients(plain, step)) < 3e-2
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_a_run_with_compiled_layers_trains_alike(toy: Path, tmp_path: Path) -> None:
    changed = {"train__precision": "bf16", "train__chunk_size": "8", "train__steps": "20"}
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        succeed(train(options(toy, tmp_path, name, **changed, train__compile=compiled)))
    plain, compiled_loss = (column(tmp_path, name, "train/loss") for name in ("plain", "compiled"))
    assert abs(compiled_loss / plain - 1).max() < 0.02


def test_the_allocator_has_segments_that_grow() -> None:
    """Set when the package is imported, before GPU memory is allocated."""
    assert "expandable_segments:True" in os.environ[hybrid_dist.ALLOCATOR]
    torch.zeros(1, device=CUDA)
    settings = torch.cuda.memory._snapshot()["allocator_settings"]
    assert settings["expandable_segments"], json.dumps(settings)


def test_activations_take_what_the_launchers_table_says(tmp_path: Path) -> None:
    """42 bytes for each layer, unit of width and token under autocast; kernels' workspaces and
    what stands outside layers are on top, so that two numbers of layers are compared."""
    if not AMPERE:
        pytest.skip("the table is for the kernel, which needs compute capability 8.0")
    width, tokens, peaks = 1024, 32 * 128, []
    for layers in (2, 6):
        sizes = {
            "hidden_size": width,
            "num_attention_heads": 16,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "max_position_embeddings": 144,
        }
        encoder = encoder_of("xlm-roberta", tmp_path / str(layers), sizes, dropout=0.1)
        on_card(encoder, torch.bfloat16).train()
        texts = PackedTexts.of([[5] * 128] * 32).to(CUDA)
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            before = torch.cuda.memory_allocated()
            vectors = encoder(texts)
        peaks.append(torch.cuda.memory_allocated() - before)
        del vectors, encoder
    weights = 2 * 12 * width**2  # the bf16 copies of a layer's matrices
    each = (peaks[1] - peaks[0]) / 4 - weights
    assert each / (width * tokens) == pytest.approx(42, rel=0.05)


def test_padded_attention_is_faster_than_padding_all_in_fp32(tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 260,
    }
    encoder = on_card(encoder_of("xlm-roberta", tmp_path, sizes, dropout=0.0), torch.float32)
    assert encoder.attention_mode is AttentionMode.PADDED
    drawn = np.random.default_rng(0)
    lengths = np.clip(drawn.lognormal(np.log(100), 0.5, 256), 4, 256).astype(int)
    texts = PackedTexts.of([[5] * length for length in lengths]).to(CUDA)
    seconds: dict[str, float] = {}
    for how in ("packed", "padded"):
        encoder.set_padding(None if how == "packed" else "a test")
        for _ in range(3):  # the last counts
            torch.cuda.synchronize()
            begin = time.perf_counter()
            encoder(texts).sum().backward()
            torch.cuda.synchronize()
            seconds[how] = time.perf_counter() - begin
    assert seconds["packed"] < seconds["padded"], seconds
