"""Export an encoder to a folder that transformers, sentence-transformers and hybrid_dist load."""

import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from torch import Tensor

from hybrid_dist.model import card
from hybrid_dist.model.lora import merged
from hybrid_dist.model.spec import ACTIVATION, FILE, EncoderSpec
from hybrid_dist.runtime.files import apply_umask, atomic_folder


def save(
    folder: Path, backbone: Any, state: Mapping[str, Tensor], tokenizer: Any, settings: EncoderSpec
) -> None:
    """Write the folder atomically: after a failure the old one, if any, is unchanged.

    `state` is the full state dict of the backbone, gathered from all ranks. LoRA adapters are
    merged.
    """
    state = {name: tensor.contiguous() for name, tensor in merged(backbone, state).items()}
    with atomic_folder(folder, cure="make room there and start the same command again") as draft:
        backbone.save_pretrained(draft, state_dict=dict(state))
        _save_tokenizer(draft, tokenizer)
        _write(draft / FILE, settings.content())
        _save_sentence_transformers(draft, backbone, state, settings)
        (draft / card.FILE).write_text(card.card(draft), encoding="utf-8")
        apply_umask(draft.rglob("*.safetensors"))  # safetensors creates them with mode 600


def _save_tokenizer(folder: Path, tokenizer: Any) -> None:
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if "os error" not in str(error):
            raise
        raise OSError(str(error)) from None  # tokenizers' Rust code raises a plain Exception


def _save_sentence_transformers(
    folder: Path, backbone: Any, state: Mapping[str, Tensor], settings: EncoderSpec
) -> None:
    width = backbone.config.hidden_size
    dense = settings.pooling == "labse"
    kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    paths = [f"{i}_{kind}" if i else "" for i, kind in enumerate(kinds)]
    for path in paths:
        (folder / path).mkdir(exist_ok=True)
    _write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
        ],
    )
    _write(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": settings.pooling in ("cls", "labse"),
            "pooling_mode_mean_tokens": settings.pooling == "mean",
            **({"pooling_mode_lasttoken": True} if settings.pooling == "last" else {}),
        },
    )
    if dense:
        _save_dense(folder / paths[2], width, state)
    _write(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {
                "query": settings.query_prefix,
                "document": settings.passage_prefix,
                "passage": settings.passage_prefix,
            },
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    longest = max(settings.max_query_tokens, settings.max_passage_tokens)
    model: dict[str, Any] = {"max_seq_length": longest, "do_lower_case": False}
    if not dense and "add_pooling_layer" in signature(type(backbone).__init__).parameters:
        model["model_args"] = {"add_pooling_layer": False}  # its weights would be missing
    _write(folder / "sentence_bert_config.json", model)


def _save_dense(folder: Path, width: int, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    weights = {f"linear.{part}": state[f"pooler.dense.{part}"] for part in ("weight", "bias")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shape = {"in_features": width, "out_features": width, "bias": True}
    _write(folder / "config.json", shape | {"activation_function": ACTIVATION})


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
