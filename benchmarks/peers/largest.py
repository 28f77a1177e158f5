"""The largest batch that a process trains on within a limit of memory."""

from collections.abc import Callable
from typing import Any

from processes import TooLarge
from sizes import Sizes


def largest_batch(
    tried: Callable[[int], dict[str, Any]], sizes: Sizes, in_chunks: bool
) -> dict[str, Any]:
    """Its size, the memory it took, and the size that was too large, if any was.

    `tried` trains on batches of a size, or raises TooLarge. In chunks, memory hardly depends on the
    size, so the largest one that is tried comes first.
    """
    peaks = {0: 0.0}
    fails: int | None = None
    size = sizes.largest if in_chunks else sizes.batch
    while True:
        try:
            peaks[size] = tried(size)["peak_gib"]
            print(f"    {size}: {peaks[size]:.2f} GiB", flush=True)
        except TooLarge:
            fails = size
            print(f"    {size}: too large", flush=True)
        fits = max(peaks)
        if fits == sizes.largest or (fails is not None and fails - fits <= sizes.nearest):
            return {"size": fits, "peak_gib": peaks[fits], "too_large": fails}
        size = _next(peaks, fails, sizes)


def _next(peaks: dict[int, float], fails: int | None, sizes: Sizes) -> int:
    """Where the line through the last two peaks meets the limit, or the middle."""
    *_, before, fits = sorted(peaks) if len(peaks) > 1 else (0, 0)
    step = sizes.nearest
    if before:
        slope = max((peaks[fits] - peaks[before]) / (fits - before), 1e-6)
        size = fits + int((sizes.limit_gib - peaks[fits]) / slope)
    else:
        size = 2 * fits
    if fails is not None and not fits + step <= size <= fails - step:
        size = (fits + fails) // 2
    return min(max(size // step * step, fits + step), sizes.largest)
