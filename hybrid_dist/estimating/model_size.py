"""The sizes of a model that memory and time depend on, from its config alone."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.layers import check_frozen_layers, freeze_layers, transformer_layers
from hybrid_dist.model.loading import empty_backbone, read_config
from hybrid_dist.training.flops import Flops


@dataclass(frozen=True)
class ModelSize:
    """Numbers of a model; weights are counted, not read."""

    name: str
    parameters: int
    trained: int
    """Parameters that have gradients."""
    matrices: int
    """Parameters of its layers that autocast casts: all but biases and norms."""
    vocabulary: int
    """Parameters of the trained word embeddings."""
    layers: int
    width: int
    flops: Flops


def model_size(model: Model, frozen_layers: int = 0) -> ModelSize:
    """The sizes of a run's model; its config.json is read, and no weights."""
    config = read_config(model)
    check_frozen_layers(config, frozen_layers)
    backbone = empty_backbone(model, config)
    if frozen_layers:
        freeze_layers(backbone, frozen_layers)
    flops = Flops.of(backbone)
    if flops is None:
        raise UserError(
            f"model.name_or_path: {model.name_or_path}: the work of a token cannot be counted for "
            f"models of type {config.model_type}"
        )
    layers = transformer_layers(backbone)
    of_layers = [part for layer in layers for part in layer.parameters() if part.dim() > 1]
    words = backbone.get_input_embeddings().weight
    return ModelSize(
        name=model.name_or_path,
        parameters=_count(backbone.parameters()),
        trained=_count(part for part in backbone.parameters() if part.requires_grad),
        matrices=_count(of_layers),
        vocabulary=words.numel() if words.requires_grad else 0,
        layers=sum(any(p.requires_grad for p in layer.parameters()) for layer in layers),
        width=config.hidden_size,
        flops=flops,
    )


def _count(parts: Iterable[Tensor]) -> int:
    return sum(part.numel() for part in parts)
