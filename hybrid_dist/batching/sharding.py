"""Sharding a global batch: the rows of each rank, and their chunks."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hybrid_dist.errors import UserError


@dataclass(frozen=True)
class RankShard:
    """One rank's rows of the global batch, sorted by length and split into chunks."""

    rows: np.ndarray
    """Positions in the global batch of this rank's rows."""
    chunks: tuple[slice, ...]
    """Slices of `rows`: as many on every rank, none empty."""
    counts: tuple[int, ...]
    """Number of rows of every rank [W]; they differ by one at most."""
    order: np.ndarray
    """Positions in the global batch [B] of rank 0's rows, then of rank 1's, ..."""


def shard_batch(lengths: np.ndarray, rank: int, world: int, chunk_size: int) -> RankShard:
    """The shard of a rank, given the length of each row [B].

    Chunks have `chunk_size` rows at most; 0 makes one chunk. Ranks get equal numbers of rows, up to
    one, and nearly equal total lengths: rows are assigned in rounds of one row per rank, longest
    first, and in each round the longest row goes to the rank with the lowest total.
    """
    check_world(len(lengths), world)
    rank_of = np.empty(len(lengths), np.int32)
    longest_first = np.argsort(-lengths, kind="stable")
    load = np.zeros(world, np.int64)
    for start in range(0, len(lengths), world):
        rows = longest_first[start : start + world]
        least_first = np.argsort(load, kind="stable")[: len(rows)]
        rank_of[rows] = least_first
        load[least_first] += lengths[rows]
    order = np.lexsort((lengths, rank_of))
    counts = tuple(int(n) for n in np.bincount(rank_of, minlength=world))
    # ZeRO-3 and FSDP2 gather weights in every chunk: all ranks need the same number of chunks.
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
    """Reject a batch size that leaves a rank without a row."""
    if size < world:
        raise UserError(
            f"batching.size: {size} pairs cannot be split over {world} ranks; "
            f"choose {world} or more"
        )
