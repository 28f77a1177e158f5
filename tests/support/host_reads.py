"""Counts how often the host would wait for a device, on a CPU."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

READS = (
    torch.ops.aten._local_scalar_dense.default,  # item(), int(), bool(), tolist() of a scalar
    torch.ops.aten.nonzero.default,  # a shape that depends on values; boolean indexing too
    torch.ops.aten._unique2.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
)
"""What makes the host wait for a GPU, whatever follows."""


@contextmanager
def counted_reads() -> Iterator[list[str]]:
    """Lists each place in which the host reads a tensor inside: the operations of READS, and
    `cpu()` and `tolist()` of any tensor by the main thread, which on a GPU would copy it."""
    places: list[str] = []

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in READS or _boolean_index(func, args):
                places.append(str(func))
            return func(*args, **(kwargs or {}))

    originals = {name: getattr(torch.Tensor, name) for name in ("cpu", "tolist")}

    def noted(name: str) -> Any:
        def method(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                places.append(name)
            return originals[name](self, *args, **kwargs)

        return method

    for name in originals:
        setattr(torch.Tensor, name, noted(name))
    try:
        with Reads():
            yield places
    finally:
        for name, method in originals.items():
            setattr(torch.Tensor, name, method)


def _boolean_index(func: Any, args: Any) -> bool:
    """Whether this indexes with booleans, which counts them on the host first."""
    if not func.name().startswith(("aten::index.", "aten::index_put")):
        return False
    return any(index is not None and index.dtype == torch.bool for index in args[1])
