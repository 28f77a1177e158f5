"""The model that a checkpoint holds, at work before its run has come to an end."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from hybrid_dist.config.resolve import from_yaml
from hybrid_dist.errors import UserError
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.repository import is_folder
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.training.checkpoint.export import BACKBONE
from hybrid_dist.training.checkpoint.manager import damage
from hybrid_dist.training.checkpoint.manifest import MANIFEST
from hybrid_dist.training.checkpoint.state import WEIGHTS, tensors_file
from hybrid_dist.training.checkpoint.tensors import MismatchError, check, names_in, whole_shape


def is_checkpoint(folder: Path) -> bool:
    return is_folder(str(folder)) and (folder / MANIFEST).is_file()


def run_of(model: Path) -> Path:
    """The run folder that a checkpoint lies in; of anything else, itself."""
    return model.resolve().parents[1] if is_checkpoint(model) else model


def load(folder: Path, device: torch.device, trust_remote_code: bool = False) -> TextEmbedder:
    """The run's config.yaml says what the weights are of, but not whether to run the model's code:
    the folder may be another's."""
    problem = damage(folder)
    if problem is not None:
        raise UserError(f"{folder} {problem}")
    described = run_of(folder) / "config.yaml"
    if not described.is_file():
        raise UserError(
            f"{folder}: lies in no run's checkpoints/, so nothing says what model it is of "
            f"({described} is not there)"
        )
    model = replace(from_yaml(described).model, trust_remote_code=trust_remote_code)
    config = read_config(model)
    encoder = build(replace(model, init="scratch"), config)
    file = tensors_file(folder, WEIGHTS)
    named = {f"encoder.{name}": parameter for name, parameter in encoder.named_parameters()}
    try:
        others = [name for name in names_in(file) if not name.startswith(BACKBONE)]
        check(file, {n: whole_shape(p) for n, p in named.items()}, beside=others)
    except MismatchError as mismatch:
        raise UserError(
            f"{file}: {mismatch} ({model.name_or_path}; was that folder written anew since?)"
        ) from None
    weights = load_file(file)
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(weights[name])
    tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model), trust_remote_code)
    tokens.check(config)
    return TextEmbedder(str(folder), encoder, tokens, device, trust_remote_code)
