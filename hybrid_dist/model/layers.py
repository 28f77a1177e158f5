"""The Transformer layers of a backbone: finding them, freezing them, recomputing them."""

from typing import Any

from torch import nn

from hybrid_dist.errors import UserError


def transformer_layers(backbone: Any) -> list[nn.Module]:
    """The layers in their order; empty if the backbone has no list of them."""
    count = getattr(backbone.config, "num_hidden_layers", 0)
    stacks = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    return [layer for stack in stacks for layer in stack]


def check_frozen_layers(config: Any, count: int) -> None:
    """Reject freezing all layers of a model, from its Hugging Face config."""
    if count >= config.num_hidden_layers:
        raise UserError(
            f"train.frozen_layers: the model has {config.num_hidden_layers} layers, and at least "
            f"one has to be trained; choose {config.num_hidden_layers - 1} or less"
        )


def freeze_layers(backbone: Any, count: int) -> None:
    """Train neither the embeddings nor the first layers.

    Autograd then stops above them: their activations are not kept and their gradients are neither
    computed nor exchanged.
    """
    layers = transformer_layers(backbone)
    if not layers:
        raise UserError(
            f"train.frozen_layers: models of type {backbone.config.model_type} have no list of "
            "layers; set it to 0"
        )
    for part in [*embedding_modules(backbone, layers), *layers[:count]]:
        part.requires_grad_(False)


def embedding_modules(backbone: Any, layers: list[nn.Module]) -> list[nn.Module]:
    """The modules that hold the token embeddings and no layer: also positions and their norm."""
    table = backbone.get_input_embeddings()
    stacked = set(layers)
    return [
        part
        for part in backbone.modules()
        if table in (inner := set(part.modules())) and not inner & stacked
    ]


def recompute_layers(backbone: Any) -> None:
    """Checkpoint each layer: keep its inputs only, and recompute the rest in the backward pass."""
    backbone.config.use_cache = False
    old_name = "gradient_checkpointing_enable"  # transformers before 5.23 has only this one
    name = "activation_checkpointing_enable"
    enable = getattr(backbone, name if hasattr(backbone, name) else old_name)
    enable({"use_reentrant": False})
