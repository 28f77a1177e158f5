"""Who takes which rows of a global batch, and in how many chunks."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hybrid_dist.errors import UserError


@dataclass(frozen=True)
class Share:
    """One rank's rows of the global batch, cut into chunks; counts of all ranks, known to each."""

    rows: np.ndarray
    """Positions in the global batch."""
    chunks: tuple[slice, ...]
    """Cuts of `rows`: equally many on every rank, none empty."""
    counts: tuple[int, ...]
    """Rows of every rank: they differ by one at most."""


def deal(size: int, rank: int, world: int, chunk_size: int) -> Share:
    """A rank's share of `size` rows, encoded `chunk_size` rows at a time (0: all at once)."""
    if size < world:
        raise UserError(
            f"batching.size: {size} pairs cannot be dealt to {world} ranks; choose {world} or more"
        )
    edges = [size * r // world for r in range(world + 1)]
    counts = tuple(int(n) for n in np.diff(edges))
    # ZeRO-3 and FSDP2 gather weights in every chunk: all ranks must make the same number of them.
    chunks = min(-(-max(counts) // chunk_size) if chunk_size else 1, min(counts))
    cuts = [counts[rank] * c // chunks for c in range(chunks + 1)]
    return Share(
        rows=np.arange(edges[rank], edges[rank + 1]),
        chunks=tuple(slice(a, b) for a, b in pairwise(cuts)),
        counts=counts,
    )
