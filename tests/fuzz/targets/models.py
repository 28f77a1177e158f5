"""Model folders, and the checkpoints of a run."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.schema import Config, Model
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.reporting.evaluation_job import load_model
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.manager import Checkpoints
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.checkpoint.state import TrainingState
from tests.fuzz.edits import Tree
from tests.fuzz.target import Target, Variants

CPU = torch.device("cpu")
TEXTS = ["bo du ka?", "", "ka ka lo ti " * 20]
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "bo", "du", "ka", "lo", "ti", "?", "Query:"]
WIDTH = 32


def write_config(folder: Path) -> None:
    """A tokenizer of a dozen words, and the sizes of a model for it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

    known = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = dict(zip(("bos", "pad", "eos", "unk", "mask"), WORDS, strict=False))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": word for name, word in special.items()},
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=40,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    XLMRobertaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        max_position_embeddings=42,
        type_vocab_size=1,
    ).save_pretrained(folder)


def write_model(folder: Path, pooling: Any = "mean") -> Encoder:
    """A model as a run leaves it, with random weights."""
    write_config(folder / "sizes")
    model = _scratch(folder / "sizes", pooling)
    torch.manual_seed(3)
    encoder = build(model, read_config(model)).eval()
    tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model))
    state, settings = encoder.backbone.state_dict(), EncoderSpec.of(model)
    save(folder / "model", encoder.backbone, state, tokens.tokenizer, settings)
    for file in (folder / "sizes").iterdir():
        file.unlink()
    (folder / "sizes").rmdir()
    return encoder


def _scratch(folder: Path, pooling: Any = "mean") -> Model:
    return Model(
        name_or_path=str(folder),
        init="scratch",
        pooling=pooling,
        max_query_tokens=16,
        max_passage_tokens=24,
    )


def _labse(folder: Path) -> None:
    write_model(folder, "labse")


def _foreign(folder: Path) -> None:
    """As sentence-transformers leaves it."""
    write_model(folder, "cls")
    (folder / "model" / "hybrid_dist.json").unlink()


class Models(Target):
    name = "models"
    heavy = True

    variants: ClassVar[Variants] = {"mean": write_model, "labse": _labse, "foreign": _foreign}

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        model = load_model(str(folder / "model"), CPU)
        found = [model.encode_queries(TEXTS), model.encode_passages(TEXTS)]
        return [vectors.tolist() for vectors in found]

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        for vectors in map(np.array, value):
            lengths = np.linalg.norm(vectors, axis=1)
            if vectors.ndim != 2 or len(vectors) != len(TEXTS):
                return f"vectors of shape {vectors.shape}"
            finite = np.isfinite(lengths)  # evaluation refuses the others, with their ids
            if not np.allclose(lengths[finite], 1, atol=1e-3):
                return f"vectors of other lengths than 1\n{lengths.tolist()}"
        return None


class _Trained(nn.Module):
    """What a run trains: the names of its parameters are those of checkpoints."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder


class Checkpointed(Target):
    """A run's checkpoints: one of them as it was written, or none with a word about it."""

    name = "checkpoints"
    heavy = True

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def inputs(self) -> Variants:
        return {"resumed": self._write, "evaluated": self._write}

    @cached_property
    def accelerator(self) -> Any:
        from accelerate import Accelerator

        return Accelerator(cpu=True)

    def _write(self, folder: Path) -> None:
        """Two checkpoints of a run, four steps apart."""
        encoder = write_model(folder)
        model = Model(name_or_path="model", max_query_tokens=16, max_passage_tokens=24)
        config = replace(Config(), model=model)
        (folder / "config.yaml").write_text(to_yaml(config), "utf-8")
        trained = _Trained(encoder)
        optimizer = torch.optim.AdamW(trained.parameters(), lr=0.01)
        random.seed(1)
        torch.manual_seed(1)
        np.random.seed(1)
        checkpoints = self._checkpoints(folder, trained, optimizer, [])
        for step in (4, 8):
            for parameter in trained.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
            checkpoints.save(Progress(step=step, best=0.5, best_step=4, no_better=1))

    def _checkpoints(
        self, folder: Path, trained: nn.Module, optimizer: Any, messages: list[str]
    ) -> Checkpoints:
        state = TrainingState(self.accelerator, Ranks(), trained, optimizer, "single")
        return Checkpoints(folder / "checkpoints", state, Ranks(), 3, "stop", messages.append)

    def among(self, variant: str, tree: Tree) -> Sequence[str]:
        names = [name for name in tree if name.startswith("checkpoints/")]
        small = [
            name for name in names if name.endswith(("manifest.json", "latest", "random.json"))
        ]
        return [*names, *small]

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        if variant == "evaluated":
            model = load_model(str(folder / "checkpoints" / "step-000008"), CPU)
            return model.encode_queries(TEXTS).tolist()
        return self._resumed(folder, "auto")

    def _resumed(self, folder: Path, resume: str) -> Any:
        """The state of a run resumed from a checkpoint, and its messages."""
        messages: list[str] = []
        model = replace(_scratch(folder / "model"), name_or_path=str(folder / "model"))
        trained = _Trained(self._fresh(model))
        optimizer = torch.optim.AdamW(trained.parameters(), lr=0.01)
        checkpoints = self._checkpoints(folder, trained, optimizer, messages)
        found = checkpoints.find(resume)
        if found is None:
            return "none", messages
        progress = checkpoints.load(found)
        digest = hashlib.sha256()
        for parameter in trained.parameters():
            for tensor in (parameter, *(v for _, v in sorted(optimizer.state[parameter].items()))):
                description = f"{tuple(tensor.shape)} {tensor.dtype}"
                digest.update(description.encode() + tensor.detach().numpy().tobytes())
        drawn = [random.random(), float(torch.rand(())), float(np.random.rand())]
        return progress, digest.hexdigest(), drawn, messages

    def _fresh(self, model: Model) -> Encoder:
        """The run's encoder with weights that are no checkpoint's."""
        if not hasattr(self, "_encoder"):
            self._encoder = build(model, read_config(model))
        with torch.no_grad():
            for parameter in self._encoder.parameters():
                parameter.zero_()
        return self._encoder

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        if variant == "evaluated":
            return None if value == good else "a change went unnoticed"
        if self._before is None:  # the first call is with the files as they were written
            earlier = str(folder / "checkpoints" / "step-000004")
            *self._before, _ = self._resumed(folder, earlier)
        *state, messages = value
        if state == ["none"]:
            return None if messages else "checkpoints were skipped without a message"
        if state == list(good[:-1]):
            return None
        if state != self._before:
            return f"a change went unnoticed\n{state}\nwas {good}\nor {self._before}"
        return None
