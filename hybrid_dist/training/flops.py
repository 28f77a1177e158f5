"""FLOPs of a step and peak FLOP/s of GPUs, for model FLOPs utilization (MFU)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from hybrid_dist.model.layers import transformer_layers

PEAKS = {
    "B200": 2250,
    "H200": 989,
    "H200 NVL": 835,
    "GH200": 989,
    "H100 HBM3": 989,
    "H100 NVL": 835,
    "H100 PCIe": 756,
    "H20": 148,
    "A100": 312,
    "A30": 165,
    "A40": 150,
    "A10": 125,
    "L40S": 362,
    "L40": 181,
    "L4": 121,
    "RTX A6000": 155,
    "RTX 6000 Ada": 364,
    "RTX 4090": 165,
    "RTX 3090": 71,
    "MI300X": 1307,
}
"""Dense bf16 TFLOP/s from data sheets, by words that occur in the device name."""
OTHER_CARDS = {"MIG", "Laptop", "D", "Max", "Ti"}
"""Words of names that stand for a part of such a card, or for a smaller one."""


def peak(device_name: str) -> float | None:
    """The dense bf16 FLOP/s of a GPU; None if it is not in the table."""
    words = set(re.findall(r"[A-Za-z0-9]+", device_name))
    if words & OTHER_CARDS:
        return None
    known = [name for name in PEAKS if words.issuperset(name.split())]
    return PEAKS[max(known, key=len)] * 1e12 if known else None


@dataclass(frozen=True)
class Flops:
    """Model FLOPs of a forward and a backward pass.

    Per layer weight and real token: 2 forward, 2 backward in layers that are not frozen, and 2 if
    the weight itself is trained; plus attention of all tokens of a text to all. Embeddings,
    padding and recomputation are not counted.
    """

    weights: int
    """Number of weights in all layers."""
    width: int
    """Number of layers times the hidden size."""
    backward_weights: int
    backward_width: int
    """The same of the layers that are not frozen, which gradients pass through."""
    trained_weights: int
    """Number of weights that have gradients of their own: with LoRA, few of them."""

    @classmethod
    def of(cls, backbone: Any) -> "Flops | None":
        """None if not every token passes through all layer weights, as with experts."""
        config = backbone.config
        if any(getattr(config, name, 0) for name in ("num_experts", "num_local_experts")):
            return None
        layers = transformer_layers(backbone)
        trained = [la for la in layers if any(part.requires_grad for part in la.parameters())]
        width: int = config.hidden_size
        sizes = [(_weights(some), len(some) * width) for some in (layers, trained)]
        return cls(*sizes[0], *sizes[1], _weights(trained, True)) if layers else None

    def __call__(self, sizes: Sequence[float]) -> float:
        """FLOPs for texts of these lengths in tokens."""
        lengths = np.asarray(sizes, float)
        per_token = 2 * (self.weights + self.backward_weights + self.trained_weights)
        per_pair_of_tokens = 4 * self.width + 8 * self.backward_width
        return float(per_token * lengths.sum() + per_pair_of_tokens * (lengths**2).sum())


def _weights(layers: Sequence[nn.Module], trained_only: bool = False) -> int:
    parts = [part for layer in layers for part in layer.parameters()]
    return sum(part.numel() for part in parts if part.requires_grad or not trained_only)
