"""Hybrid-batch training and evaluation of multilingual retrievers."""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid_dist.api import train
    from hybrid_dist.batching.sampler import HybridBatchSampler
    from hybrid_dist.config.schema import Config
    from hybrid_dist.data.store.reader import Store
    from hybrid_dist.errors import UserError
    from hybrid_dist.evaluation.tasks import Task
    from hybrid_dist.losses.infonce import InfoNCE
    from hybrid_dist.losses.options import LossOptions, Margin
    from hybrid_dist.model.embedder import TextEmbedder
    from hybrid_dist.reporting.array_evaluation import evaluate
    from hybrid_dist.reporting.report import Report
    from hybrid_dist.training.result import TrainingResult

__version__ = "0.2.0"

__all__ = [
    "Config",
    "HybridBatchSampler",
    "InfoNCE",
    "LossOptions",
    "Margin",
    "Report",
    "Store",
    "Task",
    "TextEmbedder",
    "TrainingResult",
    "UserError",
    "evaluate",
    "train",
]

_MODULES = {
    "Config": "hybrid_dist.config.schema",
    "HybridBatchSampler": "hybrid_dist.batching.sampler",
    "InfoNCE": "hybrid_dist.losses.infonce",
    "LossOptions": "hybrid_dist.losses.options",
    "Margin": "hybrid_dist.losses.options",
    "Report": "hybrid_dist.reporting.report",
    "Store": "hybrid_dist.data.store.reader",
    "Task": "hybrid_dist.evaluation.tasks",
    "TextEmbedder": "hybrid_dist.model.embedder",
    "TrainingResult": "hybrid_dist.training.result",
    "UserError": "hybrid_dist.errors",
    "evaluate": "hybrid_dist.reporting.array_evaluation",
    "train": "hybrid_dist.api",
}
"""The module of each public name, imported when the name is first used: torch takes seconds."""

ALLOCATOR = "PYTORCH_ALLOC_CONF"
"""Where torch reads the options of its GPU allocator when GPU memory is first allocated."""
if not {ALLOCATOR, "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"} & os.environ.keys():
    # Chunks differ in size from step to step: segments of fixed sizes would leave gaps between them
    os.environ[ALLOCATOR] = "expandable_segments:True"
# Arrow's own default gives every large buffer back to the kernel, which clears its pages once more
# for the next one: a third of the time of building a store
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # `import hybrid_dist.train`, the entry point, would replace the function of that name
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
