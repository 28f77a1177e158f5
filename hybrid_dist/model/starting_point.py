"""What is known of a model before a run: prefixes, pooling, sizes and tokenizer, but no weights."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.loading import positions, read_config
from hybrid_dist.model.repository import KEY, find, is_at_hand, is_folder
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens

E5 = re.compile(r"(multilingual-)?e5-(small|base|large)(-v2)?", re.IGNORECASE)
"""Names of models that want E5's prefixes, which their READMEs state and their files do not."""
E5_PREFIXES = ("query: ", "passage: ")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""The files that transformers reads weights from."""
ROOM = 512
"""Positions that most encoders have."""


@dataclass(frozen=True)
class Sizes:
    """Of a model's config."""

    layers: int
    width: int
    vocabulary: int

    def weights(self, trained_layers: int | None = None) -> int:
        """About how many numbers the model has, or those of its last layers alone."""
        layer = 12 * self.width**2
        if trained_layers is not None:
            return trained_layers * layer
        return self.layers * layer + self.vocabulary * self.width


@dataclass(frozen=True)
class StartingPoint:
    name: str
    spec: EncoderSpec
    """Prefixes and pooling; its lengths are the longest that the model takes."""
    prefixes_from: str
    """Where the prefixes come from, for the user to read."""
    is_retriever: bool
    """Whether it was trained to retrieve, or only on text."""
    sizes: Sizes | None
    tokens: TextTokens | None
    """None, like the sizes, if the model's files cannot be read here."""

    @classmethod
    def of(cls, name: str) -> "StartingPoint":
        """A model folder, or a model of the hub, which need not be reachable."""
        if not is_at_hand(name):
            return cls._by_name(name)
        config = read_config(Model(name_or_path=name))
        if is_folder(name) and not any(any(Path(name).glob(files)) for files in WEIGHTS):
            raise UserError(
                f"{KEY}: {name} has no weights ({' or '.join(WEIGHTS)}); name a trained model"
            )
        sizes = Sizes(
            config.num_hidden_layers,
            config.hidden_size,
            config.vocab_size,
        )
        start = cls._of_files(name)
        spec = start.spec.within(min(ROOM, positions(config)))
        return replace(start, spec=spec, sizes=sizes, tokens=TextTokens.load(name, spec))

    @classmethod
    def _of_files(cls, name: str) -> "StartingPoint":
        spec = EncoderSpec.load(name)
        is_retriever = any(find(name, file) for file in ("hybrid_dist.json", "modules.json"))
        if spec.query_prefix or spec.passage_prefix:
            return cls(name, spec, "the model's files", True, None, None)
        if E5.fullmatch(name.rpartition("/")[2]) or not is_retriever:
            by_name = cls._by_name(name)
            return replace(by_name, spec=replace(by_name.spec, pooling=spec.pooling))
        return cls(name, spec, "the model's files, which have none", True, None, None)

    @classmethod
    def _by_name(cls, name: str) -> "StartingPoint":
        is_e5 = bool(E5.fullmatch(name.rpartition("/")[2]))
        prefixes = E5_PREFIXES if is_e5 else (Model.query_prefix, Model.passage_prefix)
        origin = "the README of E5 models" if is_e5 else "arXiv 2408.10536, for plain encoders"
        spec = EncoderSpec(Model.pooling, *prefixes, ROOM, ROOM)
        return cls(name, spec, origin, is_e5, None, None)
