"""torch.compile for the encoder's layers: one graph for any number and length of texts."""

import torch
from torch.fx.experimental import _config as fx_config

from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.layers import transformer_layers
from hybrid_dist.model.packing import AttentionMode


def compile_layers(encoder: Encoder, backend: str = "inductor") -> None:
    """Compile each layer with dynamic shapes, and nothing around the layers.

    All layers share the graph of the first. Activation checkpointing and the hooks of DDP, FSDP and
    ZeRO run between graphs.
    """
    if encoder.padding_reason is None and encoder.attention_mode is AttentionMode.BY_SIZE:
        # the number of attention calls depends on the lengths of the texts: no graph holds that
        encoder.select_attention(torch.device("cpu"), "train.compile needs it on CPUs")
    # it would split graphs at DDP's bucket boundaries; buckets are sent between layers anyway
    torch._dynamo.config.optimize_ddp = False
    # without this, sizes that are equal in the first step by chance are assumed equal in every step
    fx_config.use_duck_shape = False
    for layer in transformer_layers(encoder.backbone) or [encoder.backbone]:
        layer.compile(dynamic=True, backend=backend)
