"""A bi-encoder with shared weights: a Hugging Face encoder, pooled and normalised."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hybrid_dist.config import LEARNED_TEMPERATURE, Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.settings import find, read_json

Tokens = dict[str, Tensor]


@dataclass(frozen=True)
class Chunk:
    """The questions and passages of some rows, as padded tokens."""

    queries: Tokens
    passages: Tokens


class Encoder(nn.Module):
    """Tokens in, one L2-normalised fp32 vector per text out."""

    def __init__(self, backbone: Any, pooling: str) -> None:
        super().__init__()
        self.backbone, self.pooling = backbone, pooling
        self.width: int = backbone.config.hidden_size
        """Numbers in a vector."""

    def forward(self, tokens: Tokens) -> Tensor:
        output = self.backbone(**tokens)
        if self.pooling == "labse":
            pooled = output.pooler_output.float()
        elif self.pooling == "cls":
            pooled = output.last_hidden_state[:, 0].float()
        else:
            mask = tokens["attention_mask"].unsqueeze(-1).float()
            pooled = (output.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
        return functional.normalize(pooled, dim=-1)


class BiEncoder(nn.Module):
    """The trained module: all chunks of a rank's rows go through one forward."""

    LOWEST, HIGHEST = LEARNED_TEMPERATURE

    def __init__(self, encoder: Encoder, temperature: float, learn_temperature: bool) -> None:
        super().__init__()
        self.encoder, self._temperature = encoder, temperature
        self._no_split_modules = encoder.backbone._no_split_modules  # what FSDP2 shards by
        self.log_temperature = (
            nn.Parameter(torch.tensor([temperature]).log()) if learn_temperature else None
        )

    def forward(self, chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of questions and of passages, in the order of the rows, and the temperature.

        Several chunks are encoded under activation checkpointing, one after the other in this one
        forward: memory of one chunk, and to DDP, FSDP and ZeRO an ordinary step.
        """
        if len(chunks) == 1:
            encoded = [self._encode(chunks[0])]
        else:
            encoded = [checkpoint(self._encode, chunk, use_reentrant=False) for chunk in chunks]
        queries, passages = (torch.cat(parts) for parts in zip(*encoded, strict=True))
        return queries, passages, self._temperature_of(queries)

    def _temperature_of(self, queries: Tensor) -> Tensor:
        if self.log_temperature is None:
            return queries.new_full((1,), self._temperature)
        free = self.log_temperature.float().exp()
        held = free.clamp(self.LOWEST, self.HIGHEST)
        return free + (held - free).detach()  # a bound stops the value, not the way back

    def _encode(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        return self.encoder(chunk.queries), self.encoder(chunk.passages)


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
    return Encoder(backbone, model.pooling)


def recompute_layers(encoder: Encoder) -> None:
    """Keep only layers' inputs in the forward pass, and compute the rest again in the backward."""
    backbone: Any = encoder.backbone
    backbone.config.use_cache = False
    old_name = "gradient_checkpointing_enable"  # transformers before 5.23 has only this one
    name = "activation_checkpointing_enable"
    enable = getattr(backbone, name if hasattr(backbone, name) else old_name)
    enable({"use_reentrant": False})


def positions(config: Any) -> int:
    """Tokens that a model has positions for; RoBERTa's kin lose those up to the padding's."""
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(config.max_position_embeddings) - offset


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
            f"model.name_or_path: {name} is no {where} with {what} ({reason})"
        ) from None


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
