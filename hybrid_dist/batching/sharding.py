"""Who takes which rows of a global batch, and in how many chunks."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hybrid_dist.errors import UserError


@dataclass(frozen=True)
class RankShard:
    """One rank's rows of the global batch, shortest first, cut into chunks."""

    rows: np.ndarray
    """Positions in the global batch."""
    chunks: tuple[slice, ...]
    """Cuts of `rows`: equally many on every rank, none empty."""
    counts: tuple[int, ...]
    """Rows of every rank: they differ by one at most."""
    order: np.ndarray
    """Positions of all ranks' rows, rank after rank."""


def shard_batch(lengths: np.ndarray, rank: int, world: int, chunk_size: int) -> RankShard:
    """A rank's share of rows so long, encoded `chunk_size` rows at a time (0: all at once).

    Counts differ by one at most and lengths are near equal: world after world of rows, longest
    first, the longest of them to the rank that has least.
    """
    check_world(len(lengths), world)
    dealt = np.empty(len(lengths), np.int32)
    longest_first = np.argsort(-lengths, kind="stable")
    load = np.zeros(world, np.int64)
    for start in range(0, len(lengths), world):
        rows = longest_first[start : start + world]
        least_first = np.argsort(load, kind="stable")[: len(rows)]
        dealt[rows] = least_first
        load[least_first] += lengths[rows]
    order = np.lexsort((lengths, dealt))
    counts = tuple(int(n) for n in np.bincount(dealt, minlength=world))
    # ZeRO-3 and FSDP2 gather weights in every chunk: all ranks must make the same number of them.
    chunks = min(-(-max(counts) // chunk_size) if chunk_size else 1, min(counts))
    cuts = [counts[rank] * c // chunks for c in range(chunks + 1)]
    first = sum(counts[:rank])
    return RankShard(
        rows=order[first : first + counts[rank]],
        chunks=tuple(slice(a, b) for a, b in pairwise(cuts)),
        counts=counts,
        order=order,
    )


def check_world(size: int, world: int) -> None:
    """Refuse a batch that leaves a rank without a row."""
    if size < world:
        raise UserError(
            f"batching.size: {size} pairs cannot be dealt to {world} ranks; choose {world} or more"
        )
