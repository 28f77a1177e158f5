"""The model in a checkpoint: loaded for embedding, or exported as a model folder."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from hybrid_dist.config.embedding import Precision
from hybrid_dist.config.resolve import from_yaml
from hybrid_dist.errors import UserError
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.pretrained import load_pretrained
from hybrid_dist.model.repository import is_folder
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.files import check_new_folder
from hybrid_dist.training.checkpoint.export import BACKBONE
from hybrid_dist.training.checkpoint.manager import damage
from hybrid_dist.training.checkpoint.manifest import MANIFEST
from hybrid_dist.training.checkpoint.state import tensors_file
from hybrid_dist.training.checkpoint.tensors import (
    AVERAGE,
    WEIGHTS,
    MismatchError,
    check,
    names_in,
)
from hybrid_dist.training.checkpoint.zero import whole_shape


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint, complete or not."""
    return is_folder(str(folder)) and (folder / MANIFEST).is_file()


def run_of(model: Path) -> Path:
    """The run folder of a checkpoint; any other path is returned as it is."""
    return model.resolve().parents[1] if is_checkpoint(model) else model


def load(
    folder: Path,
    device: torch.device,
    trust_remote_code: bool = False,
    precision: Precision = "auto",
) -> TextEmbedder:
    """An embedder with the weights of a checkpoint."""
    encoder, tokens = _read(folder, trust_remote_code)
    return TextEmbedder(str(folder), encoder, tokens, device, trust_remote_code, precision)


def load_weights(name: str, trust_remote_code: bool = False) -> tuple[Encoder, TextTokens]:
    """The encoder with its weights in fp32 on the CPU, and its tokenizer, of a checkpoint or of any
    other model."""
    if is_checkpoint(Path(name)):
        return _read(Path(name), trust_remote_code)
    return load_pretrained(name, trust_remote_code)


def export(folder: Path, out: Path, trust_remote_code: bool = False) -> None:
    """Write the model folder that the run would have exported at the checkpoint's step."""
    if not is_checkpoint(folder):
        raise UserError(
            f"{folder}: is no checkpoint (it has no {MANIFEST}); give the path of one, "
            "RUN/checkpoints/step-NUMBER"
        )
    check_new_folder(out)
    encoder, tokens = _read(folder, trust_remote_code)
    backbone = encoder.backbone
    weights = {name: weight.detach() for name, weight in backbone.state_dict().items()}
    save(out, backbone, weights, tokens.tokenizer, tokens.settings)


def _read(folder: Path, trust_remote_code: bool) -> tuple[Encoder, TextTokens]:
    """The encoder with a checkpoint's weights, and its tokenizer with its spec.

    The model is described by the run's config.yaml, except for trust_remote_code: the folder may
    come from someone else.
    """
    problem = damage(folder)
    if problem is not None:
        raise UserError(f"{folder} {problem}")
    run_config = run_of(folder) / "config.yaml"
    if not run_config.is_file():
        raise UserError(
            f"{folder}: is not inside a run folder's checkpoints/, so its model is unknown "
            f"({run_config} does not exist)"
        )
    run = from_yaml(run_config)
    model = replace(run.model, trust_remote_code=trust_remote_code)
    config = read_config(model)
    encoder = build(replace(model, init="scratch"), config)
    file = tensors_file(folder, AVERAGE)  # with train.ema the model is the moving average
    file = file if file.is_file() else tensors_file(folder, WEIGHTS)
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
    spec = EncoderSpec.of(model, run.loss.dims)
    tokens = TextTokens.load(model.name_or_path, spec, trust_remote_code)
    tokens.check(config)
    return encoder, tokens
