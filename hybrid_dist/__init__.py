"""Hybrid-batch training and evaluation of multilingual retrievers."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "HybridBatchSampler": "hybrid_dist.batching.sampler",
    "InfoNCE": "hybrid_dist.losses",
    "Store": "hybrid_dist.data.store.reader",
    "TextEmbedder": "hybrid_dist.model.embedder",
}
"""Public names and their modules, which are imported on use: torch takes seconds."""
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


ALLOCATOR = "PYTORCH_ALLOC_CONF"
"""Where torch reads its GPU allocator's options, when the first GPU memory is asked for."""
if not {ALLOCATOR, "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"} & os.environ.keys():
    # Chunks differ in size from step to step: segments of fixed sizes would leave gaps between them
    os.environ[ALLOCATOR] = "expandable_segments:True"
