"""Token ids of a store's texts, made once.

Kept are the tokens of prefix and text together, LONGEST at most and without the special tokens.
What a tokenizer gives for a shorter limit is the special tokens around the first of these, so one
cache serves every limit up to LONGEST, exactly.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import ArrayWriter, TextColumn, mapped, save
from hybrid_dist.errors import UserError

LONGEST = 512
AT_ONCE = 1024


class TokenCache:
    """The token ids that a store holds of its queries and passages."""

    def __init__(self, folder: Path, told: Mapping[str, Any]) -> None:
        self._told = told
        self.longest: int = told["longest"]
        """Tokens of a text that are kept at most."""
        self.passage_prefix_length: int = told["passage_prefix_length"]
        self.kinds = {
            kind: [mapped(folder / f"{kind}_{part}.npy") for part in ("tokens", "token_starts")]
            for kind in ("query", "passage")
        }

    def queries(self, rows: np.ndarray, most: int) -> list[list[int]]:
        """Ids of the queries of rows, special tokens included, cut to so many."""
        return self._ids("query", rows, most)

    def passages(self, numbers: np.ndarray, most: int) -> list[list[int]]:
        """Ids of passages by their numbers: those of rows are `Index.passage_of[rows]`."""
        return self._ids("passage", numbers, most)

    def passage_counts(self) -> np.ndarray:
        """Of each passage: its tokens, the prefix's included and special ones not."""
        return np.diff(self.kinds["passage"][1])

    def mismatch(self, tokenizer: Any, query_prefix: str, passage_prefix: str, most: int) -> str:
        """Why these are not the ids that a tokenizer would give; nothing if they are."""
        told = self._told
        for name, prefix in (("query", query_prefix), ("passage", passage_prefix)):
            if told[f"{name}_prefix"] != prefix:
                return f"it holds tokens with {name} prefix {told[f'{name}_prefix']!r}"
        if most - len(told["before"]) - len(told["after"]) > told["longest"]:
            return f"it holds {told['longest']} tokens of a text at most"
        if told["tokenizer"] != tokenizer_hash(tokenizer):
            return f"it holds tokens of another tokenizer ({told['model']})"
        return ""

    def _ids(self, kind: str, at: np.ndarray, most: int) -> list[list[int]]:
        before, after = self._told["before"], self._told["after"]
        tokens, starts = self.kinds[kind]
        first = starts[at]
        last = np.minimum(starts[at + 1], first + most - len(before) - len(after))
        return [
            [*before, *tokens[start:end].tolist(), *after]
            for start, end in zip(first.tolist(), last.tolist(), strict=True)
        ]


def write_tokens(
    folder: Path, tokenizer: Any, model: str, query_prefix: str, passage_prefix: str
) -> dict[str, Any]:
    """Add the cache to a store in the making; lengths in its index become tokens."""
    before, after = special_tokens(tokenizer)
    kinds = {
        "query": (store_format.QUERIES, query_prefix),
        "passage": (store_format.PASSAGES, passage_prefix),
    }
    for kind, (name, prefix) in kinds.items():
        _write(folder, kind, tokenizer, TextColumn(folder / name), prefix)
        counts = np.diff(mapped(folder / f"{kind}_token_starts.npy")) + len(before) + len(after)
        length = {"query": "query_length", "passage": "text_length"}[kind]
        save(folder / f"{length}.npy", counts.astype(np.uint16))
    told = {
        "model": model,
        "tokenizer": tokenizer_hash(tokenizer),
        "query_prefix": query_prefix,
        "passage_prefix": passage_prefix,
        "passage_prefix_length": len(
            tokenizer([passage_prefix], add_special_tokens=False)["input_ids"][0]
        ),
        "longest": LONGEST,
        "before": before,
        "after": after,
    }
    _check(TokenCache(folder, told), folder, tokenizer, kinds)
    return told


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after every text."""
    bare = tokenizer(["a"], add_special_tokens=False)["input_ids"][0]
    whole = tokenizer(["a"])["input_ids"][0]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []  # found out by `_check`


def tokenizer_hash(tokenizer: Any) -> str:
    """Equal for tokenizers that give equal tokens, whatever limits and padding they are set to."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("this tokenizer has no fast form, so its tokens cannot be cached")
    settings = json.loads(backend.to_str())
    settings.pop("truncation", None)
    settings.pop("padding", None)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _write(folder: Path, kind: str, tokenizer: Any, texts: TextColumn, prefix: str) -> None:
    dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    with (
        ArrayWriter(folder / f"{kind}_tokens.npy", dtype) as flat,
        ArrayWriter(folder / f"{kind}_token_starts.npy", np.int64) as starts,
    ):
        starts.append(np.zeros(1, np.int64))
        for some in _some(texts):
            ids = tokenizer(
                [prefix + text for text in some],
                add_special_tokens=False,
                truncation=True,
                max_length=LONGEST,
                return_token_type_ids=False,
                return_attention_mask=False,
            )["input_ids"]
            starts.append(flat.length + np.cumsum([len(one) for one in ids]))
            flat.append(np.array([token for one in ids for token in one], dtype))


def _some(texts: TextColumn) -> Iterator[list[str]]:
    for array in texts.arrays():
        for start in range(0, len(array), AT_ONCE):
            yield array[start : start + AT_ONCE].to_pylist()


def _check(
    cache: TokenCache, folder: Path, tokenizer: Any, kinds: Mapping[str, Sequence[str]]
) -> None:
    """Refuse a tokenizer whose own tokens of some texts, cut in some places, are not these."""
    for kind, (name, prefix) in kinds.items():
        column = TextColumn(folder / name)
        at = np.unique(np.linspace(0, len(column) - 1, 64).astype(np.int64))
        texts = [prefix + text for text in column.take(at)]
        for most in (8, 64, LONGEST):
            own = tokenizer(texts, truncation=True, max_length=most)["input_ids"]
            cached = cache.queries(at, most) if kind == "query" else cache.passages(at, most)
            if cached != own:
                raise UserError(
                    "--tokenize: this tokenizer does not put its special tokens around a text that "
                    "it cuts at the end, so its tokens cannot be cached; leave the flag out"
                )
