"""The largest batch that a process trains on within a limit of memory."""

from collections.abc import Callable
from typing import Any

from processes import TooLarge
from sizes import Sizes


def largest_batch(
    tried: Callable[[int], dict[str, Any]], sizes: Sizes, in_chunks: bool
) -> dict[str, Any]:
    """Its size, the memory it took, and the size that was too large, if any was.

    `tried` trains on one batch of a size, or raises TooLarge. In chunks, memory hardly depends on
    the size, so the largest one that is tried comes first.
    """
    fits, fails, peak = 0, 0, 0.0
    size = sizes.largest if in_chunks else sizes.batch
    while True:
        try:
            peak = tried(size)["peak_gib"]
        except TooLarge:
            fails = size
        else:
            fits = size
        print(f"    {size}: {'too large' if fails == size else f'{peak:.2f} GiB'}", flush=True)
        if fits == sizes.largest or (fails and fails - fits <= sizes.nearest):
            return {"size": fits, "peak_gib": peak, "too_large": fails or None}
        size = (fits + fails) // 2 // sizes.nearest * sizes.nearest if fails else 2 * fits
        size = min(max(size, fits + 1), sizes.largest)
