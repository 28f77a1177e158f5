"""What a layer keeps for the backward pass: the figures of launchers/README.md.

Tensors that autograd saves are counted, each storage once and weights not at all. CPUs keep
dropout's masks as numbers of the activations' type; CUDA keeps a byte for each, which is counted.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid_dist.model.layers import recompute_layers
from hybrid_dist.model.packing import AttentionMode, PackedTexts
from tests.support import varlen_on_cpu
from tests.support.encoders import encoder_of

varlen_on_cpu.register()
README = Path(__file__).resolve().parents[3] / "launchers" / "README.md"
WIDTH, HEADS, TEXTS, LENGTH = 1024, 16, 3, 24
TOKENS = TEXTS * LENGTH
SMALL = 0.1
"""Statistics of layer norms and softmax, in bytes a token and unit of width."""


def kept(folder: Path, layers: int, **how: Any) -> float:
    """Bytes for each token and unit of width that a model keeps of its activations."""
    sizes = {
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": layers,
    }
    encoder = encoder_of("xlm-roberta", folder, sizes, dropout=how.get("dropout", 0.1))
    encoder.attention_mode = how.get("mode", AttentionMode.KERNEL)
    if how.get("padded"):
        encoder.set_padding("a test")
    if how.get("recomputed"):
        recompute_layers(encoder.backbone)
    encoder.to(how.get("weights", torch.float32)).train()
    storages: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, how.get("autocast", False), False)
    with autocast, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vectors = encoder(PackedTexts.of([[5] * LENGTH] * TEXTS))
    assert vectors.requires_grad
    sizes_of_weights = {
        part.numel() * size for part in encoder.parameters() for size in (2, part.element_size())
    }
    saved_bytes = [storage.nbytes() for storage in storages.values()]
    return sum(size for size in saved_bytes if size not in sizes_of_weights) / (TOKENS * WIDTH)


def of_a_layer(folder: Path, **how: Any) -> float:
    """The difference between two layers and one, with masks of dropout at one byte."""
    one, two = (kept(folder / str(layers), layers, **how) for layers in (1, 2))
    mask = 2 if how.get("autocast") or "weights" in how else 4
    masks = 0 if how.get("recomputed") or how.get("dropout") == 0 else 2
    return two - one - masks * (mask - 1)


BF16 = {"autocast": True}
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "bf16 under autocast": (BF16, 42),
    "without dropout": (BF16 | {"dropout": 0.0}, 40),
    "attention padded": (BF16 | {"mode": AttentionMode.PADDED}, 44),
    "bf16 weights": ({"weights": torch.bfloat16}, 34),
    "fp32": ({}, 66),
    "recomputed": (BF16 | {"recomputed": True}, 4),
    "recomputed, bf16 weights": ({"weights": torch.bfloat16, "recomputed": True}, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_keeps_what_the_launchers_table_says(name: str, tmp_path: Path) -> None:
    how, bytes_each = CASES[name]
    assert of_a_layer(tmp_path, **how) == pytest.approx(bytes_each, abs=SMALL)


def test_the_table_has_these_figures() -> None:
    page = README.read_text()
    for row in ("`ddp.yaml` | 42 |", "`zero*.yaml` | 34 |", "| fp32 | 66 |"):
        assert row in page
