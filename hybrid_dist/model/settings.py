"""What travels with an encoder's weights: how text becomes tokens, and tokens one vector."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hybrid_dist.config import Model
from hybrid_dist.errors import UserError

FILE = "hybrid_dist.json"
Pooling = Literal["mean", "cls", "labse"]


@dataclass(frozen=True)
class Settings:
    pooling: Pooling
    query_prefix: str
    passage_prefix: str
    max_query_tokens: int
    max_passage_tokens: int

    @classmethod
    def of(cls, model: Model) -> "Settings":
        return cls(
            pooling=model.pooling,
            query_prefix=model.query_prefix,
            passage_prefix=model.passage_prefix,
            max_query_tokens=model.max_query_tokens,
            max_passage_tokens=model.max_passage_tokens,
        )

    @classmethod
    def load(cls, name: str) -> "Settings":
        """Those of a folder or hub model: ours, else sentence-transformers', else plain means."""
        ours = read_json(name, FILE)
        if ours is not None:
            return cls(**ours)
        modules = read_json(name, "modules.json")
        if modules is not None:
            return _of_sentence_transformers(name, modules)
        return cls("mean", "", "", max_query_tokens=512, max_passage_tokens=512)

    @property
    def most_tokens(self) -> tuple[int, int]:
        """Of a question and of a passage."""
        return self.max_query_tokens, self.max_passage_tokens

    def within(self, positions: int) -> "Settings":
        """These, with lengths that a model of so many positions can take."""
        return replace(
            self,
            max_query_tokens=min(self.max_query_tokens, positions),
            max_passage_tokens=min(self.max_passage_tokens, positions),
        )


def find(name: str, file: str) -> Path | None:
    """A file of a model's folder, or of its repository on the hub."""
    from transformers.utils import cached_file

    found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def read_json(name: str, file: str) -> Any:
    """The content of such a file; None where there is none."""
    found = find(name, file)
    return None if found is None else json.loads(found.read_text(encoding="utf-8"))


def _of_sentence_transformers(name: str, modules: list[dict[str, str]]) -> Settings:
    paths = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
    told = read_json(name, f"{paths['Pooling']}/config.json") if "Pooling" in paths else None
    told = told or {}
    mode = told.get("pooling_mode")  # newer files name it, older ones set one flag of many
    pooling: Pooling
    if mode == "mean" or told.get("pooling_mode_mean_tokens"):
        pooling = "mean"
    elif mode == "cls" or told.get("pooling_mode_cls_token"):
        pooling = "labse" if "Dense" in paths else "cls"
    else:
        raise UserError(f"{name}: its pooling is neither mean nor cls, the ones known here")
    if "Dense" in paths and pooling != "labse":
        raise UserError(f"{name}: has a dense layer after {pooling} pooling; known only after cls")
    prompts = (read_json(name, "config_sentence_transformers.json") or {}).get("prompts") or {}
    length = (read_json(name, "sentence_bert_config.json") or {}).get("max_seq_length") or 512
    passage = prompts.get("passage") or prompts.get("document") or ""
    return Settings(pooling, prompts.get("query") or "", passage, length, length)
