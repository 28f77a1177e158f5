"""LoRA: small trained matrices beside frozen ones, added by peft and merged when a model is saved.

Shapes:
    R  rank
    I  inputs of a linear layer
    O  its outputs
"""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.layers import transformer_layers

ALL_LINEAR = "all-linear"
"""The name for all linear layers inside the Transformer layers."""
ADAPTER = "default"
"""peft's name of the adapter."""


def check_peft(model: Model) -> None:
    """Reject LoRA where peft is not installed."""
    if model.lora_rank and find_spec("peft") is None:
        raise UserError(
            "model.lora_rank: LoRA needs the package peft, which is not installed: "
            'pip install "hybrid_dist[lora]"'
        )


def add_adapters(backbone: Any, model: Model) -> None:
    """Freeze the backbone and train two matrices [R, I] and [O, R] beside each selected layer.

    The second starts at zero, so vectors stay as they are until the first update.
    """
    check_peft(model)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=model.lora_rank,
        lora_alpha=model.lora_alpha,
        lora_dropout=model.lora_dropout,
        target_modules=selected_layers(backbone, model.lora_modules),
    )
    inject_adapter_in_model(config, backbone, ADAPTER)


def selected_layers(backbone: Any, names: tuple[str, ...]) -> list[str]:
    """The full names of the linear layers that are meant: by the last part of theirs, or by more of
    it (`query`, `attention.self.query`)."""
    linear = _linear_layers(backbone)
    layers: list[Any] = transformer_layers(backbone) or [backbone]
    inside = {part for layer in layers for part in layer.modules()}
    selected: list[str] = []
    for name in names:
        if name == ALL_LINEAR:
            found = [full for full, part in linear.items() if part in inside]
        else:
            found = [full for full in linear if f".{full}".endswith(f".{name}")]
        if not found:
            raise UserError(_unknown(name, linear, backbone))
        selected += found
    return sorted(set(selected))


def _linear_layers(backbone: Any) -> dict[str, nn.Linear]:
    named = backbone.named_modules()
    return {name: part for name, part in named if isinstance(part, nn.Linear)}


def _unknown(name: str, linear: Mapping[str, nn.Linear], backbone: Any) -> str:
    """What is wrong with a name that no linear layer has."""
    kind = backbone.config.model_type
    if not linear:
        return f"model.lora_modules: models of type {kind} have no linear layers"
    known = sorted({full.rpartition(".")[2] for full in linear})
    near = get_close_matches(name, [*known, *sorted(set(map(_in_layer, linear)))], n=3, cutoff=0.5)
    closest = f"; the closest are {', '.join(near)}" if near else ""
    return (
        f"model.lora_modules: models of type {kind} have no linear layer {name!r}{closest} "
        f"(all: {', '.join(known)}; or {ALL_LINEAR})"
    )


def _in_layer(full: str) -> str:
    """A name inside its Transformer layer: what follows the layer's number."""
    parts = full.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[-1] + 1 :] if numbers else parts)


def adapted_layers(backbone: Any) -> dict[str, Any]:
    """The layers that have an adapter, by name."""
    return {name: part for name, part in backbone.named_modules() if hasattr(part, "lora_A")}


def merged(backbone: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a plain backbone: adapters added to the weights beside them, in fp64.

    `state` holds whole tensors, wherever the backbone's own are. Layers without adapter weights in
    it are merged already.
    """
    plain = dict(state)
    for name, layer in adapted_layers(backbone).items():
        if f"{name}.lora_A.{ADAPTER}.weight" not in plain:
            continue
        down, up = (plain.pop(f"{name}.lora_{part}.{ADAPTER}.weight") for part in "AB")
        weight = plain.pop(f"{name}.base_layer.weight")
        update = layer.scaling[ADAPTER] * (up.double() @ down.double())
        plain[f"{name}.weight"] = (weight.double() + update).to(weight.dtype)
        if (bias := plain.pop(f"{name}.base_layer.bias", None)) is not None:
            plain[f"{name}.bias"] = bias
    return plain


def describe(model: nn.Module, backbone: Any) -> str:
    """What is trained, for messages; empty without adapters."""
    adapted = adapted_layers(backbone)
    if not adapted:
        return ""
    parameters = list(model.parameters())
    trained = sum(part.numel() for part in parameters if part.requires_grad)
    whole = sum(part.numel() for part in parameters)
    kinds = sorted({name.rpartition(".")[2] for name in adapted})
    return (
        f"LoRA on {len(adapted)} layers ({', '.join(kinds)}): {trained:,} of {whole:,} parameters "
        f"are trained ({trained / whole:.2%})"
    )
