"""This machine's CPUs as a card: the speed of products and of its memory, measured on the spot."""

import time
from collections.abc import Callable

import torch

from hybrid_dist.estimating.hardware import GIB, ON_CPUS, PROCESS_ON_CPUS, Card
from hybrid_dist.runtime.host_memory import free_memory

SIZE = 1024
"""Rows and columns of the matrices that are multiplied."""
COPIED = 1 << 28
"""Bytes that are copied: more than caches hold."""
TURNS = 5


def processors(precision: str) -> Card:
    """All cores of this process, and the memory that is free now."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    count = torch.get_num_threads()
    bandwidth = _bandwidth()
    return Card(
        name=f"CPU with {count} {'thread' if count == 1 else 'threads'}, as measured now",
        memory=free_memory() / GIB,
        training=_products(dtype),
        fp32=_products(torch.float32),
        bandwidth=bandwidth,
        peers=bandwidth,
        reached=ON_CPUS[precision],
        process=PROCESS_ON_CPUS,
    )


def _products(dtype: torch.dtype) -> float:
    """TFLOP/s of a product of matrices."""
    left, right = torch.randn(2, SIZE, SIZE, dtype=dtype)
    out = torch.empty(SIZE, SIZE, dtype=dtype)
    return 2 * SIZE**3 / _fastest(lambda: torch.mm(left, right, out=out)) / 1e12


def _bandwidth() -> float:
    """GB/s that a copy reads and writes."""
    source, copy = torch.ones(2, COPIED // 4)
    return 2 * COPIED / _fastest(lambda: copy.copy_(source)) / 1e9


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some turns, after one that warms up."""
    run()
    seconds = []
    for _ in range(TURNS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
