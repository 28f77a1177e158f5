"""Small encoders that pack or pad, and batches of texts."""

from pathlib import Path
from typing import Any

import torch

from hybrid_dist.config.schema import Model
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, read_config

SIZES = [[3], [4, 5, 6, 7, 8, 9, 10, 11, 12], [5, 4], [6] * 30, [7, 9, 3]]


KINDS = {
    "xlm-roberta": {"pad_token_id": 1},
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "camembert": {"pad_token_id": 1},
    "distilbert": {},
    "electra": {},
    "nomic_bert": {},
}


def encoder_of(
    kind: str, folder: Path, sizes: dict[str, int] | None = None, **changes: Any
) -> Encoder:
    """A small model of some type with random weights."""
    from transformers import AutoConfig

    sizes = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
    } | (sizes or {})
    if kind == "modernbert":
        sizes |= {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    if kind == "qwen3":
        sizes |= {"num_key_value_heads": 4, "head_dim": 8}
    if kind == "distilbert":
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    more = {"pad_token_id": 0} | KINDS.get(kind, {})
    AutoConfig.for_model(kind, **sizes, **more).save_pretrained(folder)
    options = Model(name_or_path=str(folder), init="scratch", **changes)
    torch.manual_seed(0)
    return build(options, read_config(options))
