"""Building an encoder from a folder, the hub, or the sizes in a config, with checks."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError, short
from hybrid_dist.model.direction import attend_both_ways, is_causal, window_of
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.lora import add_adapters
from hybrid_dist.model.packing import ROBERTAS, PackedTexts, first_position
from hybrid_dist.model.repository import (
    KEY,
    TRUST,
    find,
    loading,
    own_code,
    read_object,
    refuse_code,
)
from hybrid_dist.model.spec import read_modules

PACKING_TOLERANCE = 1e-4
"""The largest difference of packed and padded vectors that is attributed to rounding."""
LONGEST_PROBE = 600
"""Tokens of the longest text by which packed and padded vectors are compared."""
LIMITS = {
    "hidden_size": 2**20,
    "vocab_size": 2**31,
    "max_position_embeddings": 2**31,
    "num_hidden_layers": 10_000,
}
"""Keys that a config.json must have; larger values are taken for damage."""


def read_config(model: Model) -> Any:
    """The Hugging Face config of a model, with the dropout of the run. Reads no weights."""
    from transformers import AutoConfig  # seconds to import, so only when needed
    from transformers.utils import logging

    logging.disable_progress_bar()  # they would interrupt ours
    name, trusted = model.name_or_path, model.trust_remote_code
    with loading(name, "config.json", trusted):
        content = read_object(name, "config.json")
        if content is not None and not trusted:
            refuse_code(name, content)
        config = AutoConfig.from_pretrained(name, trust_remote_code=trusted)
    attention = str(getattr(config, "_attn_implementation", None))
    if "/" in attention and not trusted:  # transformers would fetch a kernel
        raise UserError(
            f"{KEY}: config.json of {name}: attn_implementation: {short(attention)} is code of a "
            f"repository, which was not run: read it, and if you trust it, {TRUST}"
        )
    _check_sizes(config, name)
    _set_dropout(config, model)
    return config


def _check_sizes(config: Any, name: str) -> None:
    """Reject configs that describe no encoder, or one too large to build."""
    for key, most in LIMITS.items():
        value = getattr(config, key, None)
        if value is None:
            raise UserError(f"{KEY}: {name} is a model of type {config.model_type}, without {key}")
        if type(value) is not int or not 1 <= value <= most:
            raise UserError(
                f"{KEY}: config.json of {name}: {key}: expected a number from 1 to {most:,}, "
                f"given {short(value)}"
            )
    padding = getattr(config, "pad_token_id", None)
    if padding is None and not any(kind in config.model_type for kind in ROBERTAS):
        return
    if type(padding) is not int or not 0 <= padding < config.vocab_size:
        raise UserError(
            f"{KEY}: config.json of {name}: pad_token_id: expected a token below vocab_size, given "
            f"{short(padding)}"
        )


def build(model: Model, config: Any) -> Encoder:
    """An encoder on the CPU in fp32, with the model's weights or with random ones."""
    from transformers import AutoModel
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    # Under ZeRO-3 Accelerate has transformers partition weights while it creates them. Random
    # weights would differ from other strategies', and models for evaluation would be partitioned.
    unset_hf_deepspeed_config()
    name, trusted = model.name_or_path, model.trust_remote_code
    extra = _pooler_argument(config, model) | {"trust_remote_code": trusted}
    if model.init == "scratch":
        with loading(name, "the sizes of a model", trusted):
            backbone = AutoModel.from_config(config, dtype=torch.float32, **extra)
    else:
        backbone = _pretrained(AutoModel, config, model, extra)
    with loading(name, "an encoder of texts", trusted):
        if model.attention == "bidirectional":
            attend_both_ways(backbone)
        _check_pooling(backbone, model.pooling)
        encoder = Encoder(backbone, model.pooling)
        _pack(encoder, model.attention_dropout)
        if model.lora_rank:
            add_adapters(backbone, model)
    return encoder


def empty_backbone(model: Model, config: Any) -> Any:
    """The backbone with LoRA's matrices, if any, without memory for weights: to count them."""
    from transformers import AutoModel

    name, trusted = model.name_or_path, model.trust_remote_code
    extra = _pooler_argument(config, model) | {"trust_remote_code": trusted}
    with loading(name, "the sizes of a model", trusted), torch.device("meta"):
        backbone = AutoModel.from_config(config, dtype=torch.float32, **extra)
        if model.lora_rank:
            add_adapters(backbone, model)
    return backbone


def _check_pooling(backbone: Any, pooling: str) -> None:
    if pooling == "cls" and is_causal(backbone):
        raise UserError(
            f"model.pooling: the first token of a {backbone.config.model_type} model sees no other "
            "token, so cls would give all texts one vector; choose last or mean, or set "
            "model.attention: bidirectional"
        )


def _pack(encoder: Encoder, dropout: float | None) -> None:
    """Pack texts if the model's packed vectors are the same as its padded ones, else pad them."""
    kind = encoder.backbone.config.model_type
    if dropout:
        encoder.set_padding(
            f"packed attention has no dropout, and model.attention_dropout is {dropout}"
        )
        return
    if not getattr(encoder.backbone, "_supports_attention_backend", False):
        encoder.set_padding(f"models of type {kind} take no attention but their own")
        return
    texts = PackedTexts.of([[3], [3, 4, 5, 6, 7, 8, 9], [3, 4, 5, 6], *_beyond_window(encoder)])
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        encoder.set_padding("a comparison")
        padded = encoder(texts)
        encoder.set_padding(None)
        try:
            packed = encoder(texts, encoder.embed_tokens(texts.ids))
            error = float((packed - padded).abs().max())
            same = error < PACKING_TOLERANCE
            why_not = None if same else f"its packed vectors differ by {error:.0e}"
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as failure:
            message = str(failure).strip()
            why_not = message.splitlines()[0] if message else type(failure).__name__
    if why_not is not None:
        encoder.set_padding(f"models of type {kind} cannot be packed ({why_not})")
    encoder.train(training)


def _beyond_window(encoder: Encoder) -> list[list[int]]:
    """A text whose first and last tokens are outside each other's window; none without windows, or
    with such wide ones that the comparison would take long."""
    config = encoder.backbone.config
    windows = [window for part in encoder.backbone.modules() if (window := window_of(part))]
    size = max(windows, default=0) + 2
    if not windows or size > min(LONGEST_PROBE, positions(config)):
        return []
    return [[3 + (place * place) % 7 for place in range(size)]]


def positions(config: Any) -> int:
    """The longest text in tokens. Models like RoBERTa do not use the first position ids."""
    return int(config.max_position_embeddings) - first_position(config)


def _pretrained(auto: Any, config: Any, model: Model, extra: dict[str, Any]) -> nn.Module:
    name = model.name_or_path
    with loading(name, "weights", model.trust_remote_code), _no_load_report():
        backbone, report = auto.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True, **extra
        )
    missing = sorted(report["missing_keys"])
    if model.pooling == "labse" and load_dense(backbone, name):
        missing = [key for key in missing if not key.startswith("pooler.")]
    if missing:
        raise UserError(
            f"{KEY}: {name} has no weights for {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}, which would stay random; "
            "choose another model.pooling (mean, cls and last need no pooler), or "
            "model.init scratch"
            f"{own_code(name, model.trust_remote_code)}"
        )
    return backbone


@contextmanager
def _no_load_report() -> Iterator[None]:
    """Keep transformers from listing weights that are not used, such as a pooler's; those that are
    missing are refused here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def load_dense(backbone: Any, name: str) -> bool:
    """Load the dense layer of a sentence-transformers folder (LaBSE's) into the pooler, if any."""
    from safetensors.torch import load_file

    modules = find(name, "modules.json")
    path = None if modules is None else read_modules(modules).get("Dense")
    if path is None:
        return False
    with loading(name, "a dense layer"):
        if weights := find(name, f"{path}/model.safetensors"):
            state = load_file(weights)
        elif weights := find(name, f"{path}/pytorch_model.bin"):
            state = torch.load(weights, map_location="cpu", weights_only=True)
        else:
            return False
        backbone.pooler.dense.load_state_dict(
            {key.removeprefix("linear."): value for key, value in state.items()}
        )
    return True


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
    """Reject maximum lengths that exceed the model's positions."""
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
    """Build the pooler only if it is used: DDP fails on weights without gradients."""
    cls = _model_class(config, model)
    has_pooler = "add_pooling_layer" in inspect.signature(cls.__init__).parameters
    if model.pooling == "labse" and not has_pooler:
        raise UserError(
            f"model.pooling: models of type {config.model_type} have no pooler, which labse needs; "
            "choose mean or cls, or for a decoder mean or last"
        )
    return {"add_pooling_layer": model.pooling == "labse"} if has_pooler else {}


def _model_class(config: Any, model: Model) -> Any:
    """The model class for a config: one of transformers, or of the model's own code."""
    from transformers import MODEL_MAPPING
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    with loading(model.name_or_path, "a model", model.trust_remote_code):
        reference = (getattr(config, "auto_map", None) or {}).get("AutoModel")
        if reference is not None and model.trust_remote_code:
            return get_class_from_dynamic_module(reference, model.name_or_path)
        cls = MODEL_MAPPING[type(config)]
        return cls[0] if isinstance(cls, list | tuple) else cls
