"""What travels with an encoder's weights: how text becomes tokens, and tokens one vector."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hybrid_dist.config import Model
from hybrid_dist.errors import UserError

FILE = "hybrid_dist.json"


@dataclass(frozen=True)
class Settings:
    pooling: Literal["mean", "cls", "labse"]
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

    def within(self, positions: int) -> "Settings":
        """These, with lengths that a model of so many positions can take."""
        return replace(
            self,
            max_query_tokens=min(self.max_query_tokens, positions),
            max_passage_tokens=min(self.max_passage_tokens, positions),
        )

    @classmethod
    def load(cls, folder: Path) -> "Settings | None":
        """Those of a saved encoder; else of a sentence-transformers folder; else none."""
        if (folder / FILE).is_file():
            return cls(**_read(folder / FILE))
        if (folder / "modules.json").is_file():
            return _of_sentence_transformers(folder)
        return None


def _of_sentence_transformers(folder: Path) -> Settings:
    kinds = {
        m["type"].rsplit(".", 1)[-1]: folder / m["path"] for m in _read(folder / "modules.json")
    }
    pooling = _read(kinds["Pooling"] / "config.json") if "Pooling" in kinds else {}
    mode = pooling.get("pooling_mode")  # newer files name it, older ones set one flag of many
    ours: Literal["mean", "cls", "labse"]
    if mode == "mean" or pooling.get("pooling_mode_mean_tokens"):
        ours = "mean"
    elif mode == "cls" or pooling.get("pooling_mode_cls_token"):
        ours = "labse" if "Dense" in kinds else "cls"
    else:
        raise UserError(
            f"{folder}: its pooling is neither mean nor cls, which are the ones known here"
        )
    if "Dense" in kinds and ours != "labse":
        raise UserError(f"{folder}: a dense layer on {ours} pooling is not known here, only on cls")
    prompts: dict[str, str] = {}
    length = None
    if (folder / "config_sentence_transformers.json").is_file():
        prompts = _read(folder / "config_sentence_transformers.json").get("prompts") or {}
    if (folder / "sentence_bert_config.json").is_file():
        length = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    passage = prompts.get("passage") or prompts.get("document") or ""
    return Settings(ours, prompts.get("query") or "", passage, length or 512, length or 512)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
