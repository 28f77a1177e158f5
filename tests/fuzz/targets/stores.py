"""A prepared store: it returns what was stored, or is rejected by its checksums."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hybrid_dist.data.pair_files import read_pair_files
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.store.reader import Store
from hybrid_dist.reporting.store_summary import describe
from tests.fuzz.target import Target, Variants
from tests.fuzz.targets.pairs import ROWS, json_lines, rows_of


def _store(folder: Path) -> None:
    """Through the product, without the token ids that need a tokenizer."""
    more = [{"uid": f"v{n}", "lang": "en", "query": f"q{n}?", "passage": f"p{n}"} for n in range(7)]
    source = folder / "a.jsonl"
    source.write_bytes(json_lines(*ROWS, *more))
    reading, store = Reading(), folder / "store"

    def annotate(_: Path) -> dict[str, Any]:
        about = {"source": "pairs", "paths": ["a.jsonl"], "options": {}, "evaluation": {}}
        return about | {"renamed": reading.named, "bad": [], "notes": []}

    blocks = read_pair_files([str(source)], reading)
    Store.build(blocks, store, reading=reading, annotate=annotate)
    source.unlink()


class Stores(Target):
    name = "stores"
    variants: ClassVar[Variants] = {"store": _store}

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        store = Store.open(str(folder / "store"))
        arrays = {name: np.asarray(value).tolist() for name, value in vars(store.index).items()}
        return rows_of(store), arrays, store.fingerprint, describe(store)

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        if repr(value) == repr(good):
            return None
        return f"a change went unnoticed\n{value!r}\nwas {good!r}"
