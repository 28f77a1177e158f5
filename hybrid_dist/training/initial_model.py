"""The model that training starts from, the same on every rank."""

from typing import Any

import torch

from hybrid_dist.config.schema import Config
from hybrid_dist.model.compiling import compile_layers
from hybrid_dist.model.encoder import BiEncoder, Encoder
from hybrid_dist.model.layers import freeze_layers, recompute_layers
from hybrid_dist.model.loading import build
from hybrid_dist.runtime.ranks import Ranks

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The dtype attention computes in, by train.precision."""


def build_model(config: Config, model_config: Any, ranks: Ranks) -> BiEncoder:
    """Build the bi-encoder on the CPU in fp32; every rank gets the same initial weights."""
    torch.manual_seed(config.seed)
    encoder = build(config.model, model_config)
    if config.train.gradient_checkpointing:
        recompute_layers(encoder.backbone)
    if config.train.frozen_layers:
        freeze_layers(encoder.backbone, config.train.frozen_layers)
    model = BiEncoder(encoder, config.loss.temperature, config.loss.learn_temperature)
    choose_attention(model.encoder, DTYPES[config.train.precision], ranks)
    if config.train.compile:
        compile_layers(model.encoder)
    ranks.agree({"how texts are encoded": encoder.encoding_description} | _shapes(model))
    return model


def choose_attention(encoder: Encoder, dtype: torch.dtype, ranks: Ranks) -> None:
    """Select the attention that every rank's card supports, so that all ranks compute alike."""
    refusals = ranks.gather(encoder.kernel_refusal_reason(ranks.device, dtype))
    encoder.select_attention(ranks.device, next(filter(None, refusals), None))


def _shapes(model: torch.nn.Module) -> dict[str, str]:
    """Shape and dtype of each parameter, before a strategy shards it."""
    return {
        f"the shape of {name}": f"{tuple(parameter.shape)} of {parameter.dtype}"
        for name, parameter in model.named_parameters()
    }
