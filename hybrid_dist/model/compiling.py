"""The encoder's layers, compiled: one graph for texts of any number and length."""

from typing import Any

import torch
from torch import nn
from torch.fx.experimental import _config as fx_config

from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.packing import AttentionMode


def compile_layers(encoder: Encoder, backend: str = "inductor") -> None:
    """Compile each layer with dynamic shapes; what is around layers stays as it is.

    Layers are alike, so the first one's graph serves all of them. Chunks are recomputed, and DDP,
    FSDP and ZeRO do their work, between graphs.
    """
    if encoder.padding_reason is None and encoder.attends is AttentionMode.BY_SIZE:
        # a call for each length that occurs: no graph could hold that
        encoder.select_attention(torch.device("cpu"), "train.compile needs it on CPUs")
    # DDP would have graphs cut at its buckets, to send gradients early: between layers it does
    torch._dynamo.config.optimize_ddp = False
    # or two sizes that happen to be equal in the first step would have to be equal in every step
    fx_config.use_duck_shape = False
    for layer in layers(encoder.backbone):
        layer.compile(dynamic=True, backend=backend)


def layers(backbone: Any) -> list[nn.Module]:
    """The Transformer layers; the whole backbone where they are not found."""
    count = getattr(backbone.config, "num_hidden_layers", 0)
    stacks = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    return [layer for stack in stacks for layer in stack] or [backbone]
