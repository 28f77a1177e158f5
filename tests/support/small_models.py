"""Folders of small models with random weights."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from hybrid_dist.config.schema import Model
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens


def write_model(out: Path, config: Path, seed: int, **changed: Any) -> Path:
    """A model of a config's sizes, as `hybrid-dist export` writes it."""
    model = Model(name_or_path=str(config), init="scratch", **changed)
    torch.manual_seed(seed)
    backbone = build(model, read_config(model)).backbone
    spec = EncoderSpec.of(model)
    tokenizer = TextTokens.load(str(config), replace(spec, max_passage_tokens=128)).tokenizer
    save(out, backbone, backbone.state_dict(), tokenizer, spec)
    return out


def write_reranker(out: Path, config: Path, seed: int, labels: int = 1) -> Path:
    """A CrossEncoder of a config's sizes, as sentence-transformers loads it."""
    torch.manual_seed(seed)
    sizes = AutoConfig.from_pretrained(config, num_labels=labels)
    model = AutoModelForSequenceClassification.from_config(sizes)
    with torch.no_grad():  # else all scores are about equal
        for weights in model.classifier.parameters():
            weights.mul_(20)
    model.save_pretrained(out)
    spec = EncoderSpec("mean", "", "", 64, 64)
    TextTokens.load(str(config), spec).tokenizer.save_pretrained(out)
    return out


def unended(toy: Path, folder: Path) -> Path:
    """The toy's model with a tokenizer that adds no special token to texts."""
    shutil.copytree(toy / "model", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.save_pretrained(folder)
    return folder
