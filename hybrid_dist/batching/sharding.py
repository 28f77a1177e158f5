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


def shard_batch(
    lengths: np.ndarray,
    rank: int,
    world: int,
    chunk_size: int,
    chunk_tokens: int = 0,
    least_chunks: int = 1,
) -> RankShard:
    """The shard of a rank, given the length of each row [B].

    Chunks have `chunk_size` rows at most; 0 makes one chunk. With `chunk_tokens` they are of
    nearly equal length instead, at most so long unless a row is longer (or ranks that differ by a
    row have as few rows as chunks), and at least `least_chunks`. Ranks get equal numbers of rows,
    up to one, and nearly equal total lengths: rows are assigned in rounds of one row per rank,
    longest first, and in each round the longest row goes to the rank with the lowest total.
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
    of_ranks = np.split(order, np.cumsum(counts)[:-1])
    rows = of_ranks[rank]
    # ZeRO-3 and FSDP2 gather weights in every chunk: all ranks need the same number of chunks.
    if chunk_tokens:
        needed = [fewest_chunks(lengths[of_rank], chunk_tokens) for of_rank in of_ranks]
        cuts = equal_cuts(lengths[rows], min(max(least_chunks, *needed), min(counts)))
    else:
        chunks = min(-(-max(counts) // chunk_size) if chunk_size else 1, min(counts))
        cuts = [counts[rank] * c // chunks for c in range(chunks + 1)]
    return RankShard(
        rows=rows,
        chunks=tuple(slice(a, b) for a, b in pairwise(cuts)),
        counts=counts,
        order=order,
    )


def fewest_chunks(lengths: np.ndarray, most: int) -> int:
    """The smallest number of chunks of consecutive rows [R] that are at most so long each; a longer
    row is a chunk by itself."""
    return len(_starts(lengths, most, 1))


def equal_cuts(lengths: np.ndarray, chunks: int) -> list[int]:
    """Where to cut rows [R] into so many chunks, so that the longest is as short as it can be; rows
    that are longer by themselves do not lengthen the others.

    The last chunk is filled first: its activations are kept, so its share is not computed twice.
    """
    low, high = 1, int(lengths.sum())
    while low < high:
        middle = (low + high) // 2
        if fewest_chunks(lengths, middle) <= chunks:
            high = middle
        else:
            low = middle + 1
    return [*_starts(lengths, low, chunks)[::-1], len(lengths)]


def _starts(lengths: np.ndarray, most: int, chunks: int) -> list[int]:
    """The first rows of chunks, from the last chunk to the first, each filled up to `most`; there
    are at least so many `chunks`."""
    before = np.concatenate([[0], np.cumsum(lengths)])
    starts = [len(lengths)]
    while starts[-1] > 0:
        end = starts[-1]
        start = int(np.searchsorted(before, before[end] - most))
        starts.append(max(min(start, end - 1), chunks - len(starts)))
    return starts[1:]


def check_world(size: int, world: int) -> None:
    """Reject a batch size that leaves a rank without a row."""
    if size < world:
        raise UserError(
            f"batching.size: {size} pairs cannot be split over {world} ranks; "
            f"choose {world} or more"
        )
