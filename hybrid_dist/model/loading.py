"""An encoder of a folder, the hub, or a config's sizes: read, checked, built."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hybrid_dist.config import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.packing import Packed, first_position
from hybrid_dist.model.settings import find, read_json

SAME = 1e-4
"""How far apart packed and padded vectors may be by rounding."""


def read_config(model: Model) -> Any:
    """The Hugging Face config that a model names, with our dropout. No weights are read."""
    from transformers import AutoConfig  # seconds to import, so only when needed
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bars would tear ours
    config = _hub(AutoConfig.from_pretrained, model.name_or_path, "config.json")
    _set_dropout(config, model)
    return config


def build(model: Model, config: Any) -> Encoder:
    """The encoder of a config, on the CPU in fp32: with the model's weights, or from scratch."""
    from transformers import AutoModel
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    # Under ZeRO-3 Accelerate has transformers deal the weights while it makes them: other random
    # weights than under any other strategy, and a model built to be evaluated would be dealt too.
    unset_hf_deepspeed_config()
    extra = _pooler_argument(config, model)
    if model.init == "scratch":
        backbone = AutoModel.from_config(config, dtype=torch.float32, **extra)
    else:
        backbone = _pretrained(AutoModel, config, model, extra)
    encoder = Encoder(backbone, model.pooling)
    _pack(encoder, model.attention_dropout)
    return encoder


def _pack(encoder: Encoder, dropout: float | None) -> None:
    """Compute no padding where the model can: where its vectors are seen to be the same."""
    kind = encoder.backbone.config.model_type
    if dropout:
        encoder.pack(f"packed attention has no dropout, and model.attention_dropout is {dropout}")
        return
    if not getattr(encoder.backbone, "_supports_attention_backend", False):
        encoder.pack(f"models of type {kind} take no attention but their own")
        return
    texts = Packed.of([[3], [3, 4, 5, 6, 7, 8, 9], [3, 4, 5, 6]])
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        encoder.pack("a comparison")
        padded = encoder(texts)
        encoder.pack(None)
        try:
            apart = float((encoder(texts, encoder.embed_words(texts.ids)) - padded).abs().max())
            why_not = None if apart < SAME else f"its packed vectors differ by {apart:.0e}"
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            why_not = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
    if why_not is not None:
        encoder.pack(f"models of type {kind} cannot be packed ({why_not})")
    encoder.train(training)


def positions(config: Any) -> int:
    """Tokens that a model has positions for; RoBERTa's kin lose those up to the padding's."""
    return int(config.max_position_embeddings) - first_position(config)


def _pretrained(auto: Any, config: Any, model: Model, extra: dict[str, Any]) -> nn.Module:
    def load(name: str) -> Any:
        return auto.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True, **extra
        )

    backbone, report = _hub(load, model.name_or_path, "weights")
    missing = sorted(report["missing_keys"])
    if model.pooling == "labse" and load_dense(backbone, model.name_or_path):
        missing = [name for name in missing if not name.startswith("pooler.")]
    if missing:
        raise UserError(
            f"model.name_or_path: {model.name_or_path} has no weights for {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}, which would stay random; "
            "choose another model.pooling (mean and cls need no pooler), or model.init scratch"
        )
    return backbone


def load_dense(backbone: Any, name: str) -> bool:
    """Put the dense layer of a sentence-transformers folder (LaBSE's) in the pooler, if any."""
    from safetensors.torch import load_file

    for module in read_json(name, "modules.json") or []:
        if not module["type"].endswith(".Dense"):
            continue
        if weights := find(name, f"{module['path']}/model.safetensors"):
            state = load_file(weights)
        elif weights := find(name, f"{module['path']}/pytorch_model.bin"):
            state = torch.load(weights, weights_only=True)
        else:
            return False
        backbone.pooler.dense.load_state_dict(
            {key.removeprefix("linear."): value for key, value in state.items()}
        )
        return True
    return False


def _hub(load: Any, name: str, what: str) -> Any:
    """Load from a folder or the hub; say plainly what could not be had."""
    try:
        return load(name)
    except (OSError, ValueError) as error:
        where = "folder" if Path(name).is_dir() else "folder or reachable model on the hub"
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model.name_or_path: {name} is no {where} with {what} ({reason}){_offline(name)}"
        ) from None


def _offline(name: str) -> str:
    """What to do where the hub is not asked."""
    from huggingface_hub.constants import is_offline_mode

    if Path(name).is_dir() or not is_offline_mode():
        return ""
    return (
        "; HF_HUB_OFFLINE is set, so the hub was not asked: run `hybrid-dist prefetch CONFIG` "
        "without it where there is a network, with the same HF_HOME"
    )


def _set_dropout(config: Any, model: Model) -> None:
    for key, ours, value in (
        ("hidden_dropout_prob", "dropout", model.dropout),
        ("attention_probs_dropout_prob", "attention_dropout", model.attention_dropout),
    ):
        if value is None:
            continue
        if not hasattr(config, key):
            raise UserError(
                f"model.{ours}: models of type {config.model_type} have no {key}; leave it unset"
            )
        setattr(config, key, value)


def check_lengths(config: Any, model: Model) -> None:
    """Refuse texts longer than the model has positions for."""
    limit = positions(config)
    for key, value in (
        ("max_query_tokens", model.max_query_tokens),
        ("max_passage_tokens", model.max_passage_tokens),
    ):
        if value > limit:
            raise UserError(
                f"model.{key}: {value} is more than the {limit} positions of "
                f"{model.name_or_path}; choose {limit} or less"
            )


def _pooler_argument(config: Any, model: Model) -> dict[str, Any]:
    """Build the pooler only where it is used: unused weights would stall DDP."""
    from transformers import MODEL_MAPPING

    takes = (
        "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters
    )
    if model.pooling == "labse" and not takes:
        raise UserError(
            f"model.pooling: models of type {config.model_type} have no pooler, which labse needs; "
            "choose mean or cls"
        )
    return {"add_pooling_layer": model.pooling == "labse"} if takes else {}
