"""A small model with random weights in a folder, as training writes it."""

import json
from pathlib import Path
from typing import Any

import torch

from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.schema import Batching, Config, Data, Model, Run
from hybrid_dist.config.sources import Mix, Source
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.reporting.evaluation_report import evaluate_task
from hybrid_dist.runtime.ranks import Ranks


def saved(
    config: Path, out: Path, pooling: Any = "mean", **settings: Any
) -> tuple[Encoder, TextTokens]:
    """An encoder with random weights and biases, and its folder; `config` has its sizes and a
    tokenizer."""
    model = Model(
        name_or_path=str(config),
        init="scratch",
        pooling=pooling,
        query_prefix="Frage: ",
        passage_prefix="Text: ",
        max_query_tokens=24,
        max_passage_tokens=24,
    )
    torch.manual_seed(3)
    encoder = build(model, read_config(model)).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter.data, std=0.3)
    spec = EncoderSpec.of(model, **settings)
    tokens = TextTokens.load(str(config), spec)
    save(out, encoder.backbone, encoder.backbone.state_dict(), tokens.tokenizer, spec)
    return encoder, tokens


def finished_run(toy: Path, run: Path, **model: Any) -> Path:
    """A run folder as training leaves it, with an evaluation on the toy task."""
    settings = Config(
        run=Run(dir=str(run.parent), name=run.name),
        model=Model(name_or_path="xlm-roberta-base", **model),
        data=Data(train=("pairs/no.jsonl", Source(path="stores/de", weight=2.0))),
        batching=Batching(mix=Mix(monolingual=3.0, cross_lingual=1.0)),
    )
    saved(toy / "model", run / "model")
    (run / "config.yaml").write_text(to_yaml(settings))
    described = {"training_languages": ["de", "no", "pt-BR", "qaa"], "training_pairs": 12345}
    (run / "environment.json").write_text(json.dumps(described))
    embedder = TextEmbedder.load(run / "model", "cpu")
    evaluate_task(load_task(f"toy:{toy}"), embedder, Ranks(), run / "eval" / "toy")
    return run
