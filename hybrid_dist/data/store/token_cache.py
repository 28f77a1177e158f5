"""Token ids of a store's texts, computed once.

The cache holds the tokens of prefix and text together, LONGEST at most, without special tokens. For
a shorter limit a tokenizer returns the special tokens around the first of these, so one cache is
exact for every limit up to LONGEST.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import ArrayWriter, TextColumn, load_mapped, save_array
from hybrid_dist.errors import UserError
from hybrid_dist.runtime import progress_bar

LONGEST = 512
BATCH = 1024


class TokenCache:
    """The token ids of a store's queries and passages."""

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self._description = description
        self.longest: int = description["longest"]
        """The maximum number of tokens of a text in the cache."""
        self.passage_prefix_length: int = description["passage_prefix_length"]
        self.kinds = {
            kind: [
                load_mapped(folder / f"{kind}_{part}.npy") for part in ("tokens", "token_starts")
            ]
            for kind in ("query", "passage")
        }

    def queries(self, rows: np.ndarray, most: int) -> list[list[int]]:
        """Token ids of the queries of rows, cut to `most` with special tokens."""
        return self._ids("query", rows, most)

    def passages(self, numbers: np.ndarray, most: int) -> list[list[int]]:
        """Token ids of passages by number; the passages of rows are `Index.passage_of[rows]`."""
        return self._ids("passage", numbers, most)

    def passage_counts(self) -> np.ndarray:
        """The number of tokens of each passage, with its prefix and without special tokens."""
        return np.diff(self.kinds["passage"][1])

    def mismatch(self, tokenizer: Any, query_prefix: str, passage_prefix: str, most: int) -> str:
        """Why these are not the ids that a tokenizer would return; empty if they are."""
        description = self._description
        for name, prefix in (("query", query_prefix), ("passage", passage_prefix)):
            if description[f"{name}_prefix"] != prefix:
                return f"it holds tokens with {name} prefix {description[f'{name}_prefix']!r}"
        if most - len(description["before"]) - len(description["after"]) > description["longest"]:
            return f"it holds {description['longest']} tokens of a text at most"
        if description["tokenizer"] != tokenizer_hash(tokenizer):
            return f"it holds tokens of another tokenizer ({description['model']})"
        return ""

    def _ids(self, kind: str, at: np.ndarray, most: int) -> list[list[int]]:
        before, after = self._description["before"], self._description["after"]
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
    """Add the cache to the folder of a new store; returns its description for the manifest.

    The lengths in the index become numbers of tokens.
    """
    before, after = special_tokens(tokenizer)
    kinds = {
        "query": (store_format.QUERIES, query_prefix),
        "passage": (store_format.PASSAGES, passage_prefix),
    }
    for kind, (name, prefix) in kinds.items():
        _write(folder, kind, tokenizer, TextColumn(folder / name), prefix)
        starts = load_mapped(folder / f"{kind}_token_starts.npy")
        counts = np.diff(starts) + len(before) + len(after)
        length = {"query": "query_length", "passage": "text_length"}[kind]
        save_array(folder / f"{length}.npy", counts.astype(np.uint16))
    description = {
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
    _check(TokenCache(folder, description), folder, tokenizer, kinds)
    return description


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after every text."""
    bare = tokenizer(["a"], add_special_tokens=False)["input_ids"][0]
    whole = tokenizer(["a"])["input_ids"][0]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []  # `_check` refuses such a tokenizer


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of all settings that decide tokens; truncation and padding are not part of it."""
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
        progress_bar.part(f"tokenizing {kind} texts", len(texts)) as advance,
    ):
        starts.append(np.zeros(1, np.int64))
        for batch in _batches(texts):
            ids = tokenizer(
                [prefix + text for text in batch],
                add_special_tokens=False,
                truncation=True,
                max_length=LONGEST,
                return_token_type_ids=False,
                return_attention_mask=False,
            )["input_ids"]
            starts.append(flat.length + np.cumsum([len(one) for one in ids]))
            flat.append(np.array([token for one in ids for token in one], dtype))
            advance(len(batch))


def _batches(texts: TextColumn) -> Iterator[list[str]]:
    for array in texts.arrays():
        for start in range(0, len(array), BATCH):
            yield array[start : start + BATCH].to_pylist()


def _check(
    cache: TokenCache, folder: Path, tokenizer: Any, kinds: Mapping[str, Sequence[str]]
) -> None:
    """Refuse a tokenizer whose own output for sample texts, cut at several lengths, differs."""
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
