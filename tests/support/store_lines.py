"""Lines of pair files, and stores that have to be the same."""

import json
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.index import Index
from hybrid_dist.data.store.reader import Store

ARRAYS = [field.name for field in fields(Index) if field.name != "languages"]


def same(one: Store, other: Store) -> None:
    assert one.index.languages == other.index.languages
    for name in ARRAYS:
        first, second = getattr(one.index, name), getattr(other.index, name)
        assert first.dtype == second.dtype, name
        np.testing.assert_array_equal(first, second, name)
    rows = np.arange(one.index.num_rows)
    passages = np.arange(len(one.index.passage_cluster))
    assert one.queries(rows) == other.queries(rows)
    assert one.passages(rows) == other.passages(rows)
    assert one.uids(rows) == other.uids(rows)
    assert one.passage_texts(passages) == other.passage_texts(passages)
    assert one.fingerprint == other.fingerprint


def lines(count: int, seed: int = 0) -> list[str]:
    """Pairs in three languages, in no order, some with one passage, some with negatives."""
    rng = random.Random(seed)
    made = []
    for uid in range(count):
        for lang in rng.sample(["de", "en", "ru"], rng.randint(1, 3)):
            pair: dict[str, Any] = {
                "uid": f"u{uid}",
                "lang": lang,
                "query": f"{lang} query {uid} é {rng.random()}",
                "passage": f"{lang} passage {rng.randrange(count)}",
            }
            if rng.random() < 0.3:
                pair["negatives"] = [f"{lang} passage {rng.randrange(2 * count)}" for _ in "ab"]
            made.append(json.dumps(pair, ensure_ascii=False))
    rng.shuffle(made)
    return made


def with_names_before_4(folder: Path) -> dict[str, Any]:
    """Give a store's arrays the names of versions 2 and 3; the manifest that lists them."""
    names = {f"{new}.npy": f"{old}.npy" for new, old in store_format.NAMES_BEFORE_4.items()}
    for new, old in names.items():
        (folder / new).rename(folder / old)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["files"] = {
        names.get(name, name): description for name, description in manifest["files"].items()
    }
    return manifest
