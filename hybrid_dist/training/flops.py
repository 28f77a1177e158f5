"""What a step computes, and the share of its cards' peak that this is (MFU)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

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
"""Dense bf16 TFLOP/s of cards, from their makers' data sheets, by words of the device's name."""
OTHER_CARDS = {"MIG", "Laptop", "D", "Max", "Ti"}
"""A name with one of these words is of a part of such a card, or of a smaller one."""


def peak(device_name: str) -> float | None:
    """A card's dense bf16 FLOP/s; none for a card that the table does not know."""
    words = set(re.findall(r"[A-Za-z0-9]+", device_name))
    if words & OTHER_CARDS:
        return None
    known = [name for name in PEAKS if words.issuperset(name.split())]
    return PEAKS[max(known, key=len)] * 1e12 if known else None


@dataclass(frozen=True)
class Flops:
    """Model FLOPs of a forward and a backward pass: 6 for each weight of the layers and real token,
    and attention among each text's tokens. Embeddings, padding and what is computed again are not
    counted."""

    weights: int
    """Of all layers."""
    width: int
    """Of all layers: their number times the hidden size."""

    @classmethod
    def of(cls, backbone: Any) -> "Flops | None":
        """None for a model whose every token does not go through all of its layers' weights."""
        config = backbone.config
        layers: int = getattr(config, "num_hidden_layers", 0)
        if any(getattr(config, name, 0) for name in ("num_experts", "num_local_experts")):
            return None
        stacks = (m for m in backbone.modules() if isinstance(m, nn.ModuleList))
        weights = {
            id(part): part.numel()
            for stack in stacks
            if len(stack) == layers
            for part in stack.parameters()
        }
        return cls(sum(weights.values()), layers * config.hidden_size) if weights else None

    def __call__(self, sizes: Sequence[int]) -> float:
        """Of texts with so many tokens."""
        lengths = np.asarray(sizes, float)
        return float(6 * self.weights * lengths.sum() + 12 * self.width * (lengths**2).sum())
