"""The classes of the fuzzer, by name; what they need is imported when they are made."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any


class Entry:
    """A class in a module of this package."""

    def __init__(self, module: str, name: str, heavy: bool = False, seconds: float = 10.0) -> None:
        self.module, self.name, self.heavy, self.seconds = module, name, heavy, seconds

    def __call__(self) -> Any:
        return getattr(import_module(f"{__name__}.{self.module}"), self.name)()


TARGETS: Mapping[str, Entry] = {
    "pairs": Entry("pairs", "Pairs"),
    "parquet": Entry("pairs", "Parquet"),
    "tables": Entry("tables", "Tables"),
    "links": Entry("links", "Linked"),
    "layouts": Entry("layouts", "Layouts"),
    "qrels": Entry("layouts", "Qrels"),
    "benchmarks": Entry("layouts", "Benchmarks"),
    "configs": Entry("configs", "Configs", seconds=3),
    "stores": Entry("stores", "Stores"),
    "embeddings": Entry("evaluation", "Embeddings", heavy=True),
    "runs": Entry("evaluation", "Runs", heavy=True),
    "reports": Entry("evaluation", "Reports", heavy=True),
    "cache": Entry("evaluation", "Cache", heavy=True),
    "watch": Entry("runs", "Watched", heavy=True),
    "models": Entry("models", "Models", heavy=True),
    "checkpoints": Entry("models", "Checkpointed", heavy=True),
}
HEAVY = {name for name, entry in TARGETS.items() if entry.heavy}
"""Those that import torch: they share a process."""
