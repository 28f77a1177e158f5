"""Small encoders that pack or pad, and batches of texts."""

from pathlib import Path
from typing import Any

import torch

from hybrid_dist.config.schema import Model
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, read_config

SIZES = [[3], [4, 5, 6, 7, 8, 9, 10, 11, 12], [5, 4], [6] * 30, [7, 9, 3]]


KINDS: dict[str, dict[str, Any]] = {
    "xlm-roberta": {"pad_token_id": 1},
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "camembert": {"pad_token_id": 1},
    "distilbert": {},
    "electra": {},
    "nomic_bert": {},
    "modernbert": {
        "bos_token_id": 1,
        "cls_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 2,
        "num_hidden_layers": 3,  # one with global attention, two with a window
        "local_attention": 8,
    },
    "qwen3": {"num_key_value_heads": 2, "head_dim": 12},
    "qwen3 with windows": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
    },
}
"""Settings of model types that are packed; a few words may follow a type."""
DECODERS = tuple(kind for kind in KINDS if kind.startswith("qwen3"))


def encoder_of(
    kind: str, folder: Path, sizes: dict[str, Any] | None = None, **changes: Any
) -> Encoder:
    """A small model of some type with random weights."""
    from transformers import AutoConfig

    usual = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
    }
    if kind == "distilbert":
        usual |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    values = usual | KINDS.get(kind, {}) | (sizes or {})
    AutoConfig.for_model(kind.split()[0], **values).save_pretrained(folder)
    options = Model(name_or_path=str(folder), init="scratch", **changes)
    torch.manual_seed(0)
    return build(options, read_config(options))
