"""The grid of tiles on which every score is computed.

Tiles have one shape and fixed positions: a shard is a run of whole tiles, and the last tile is
padded with zeros. So every score has the same bits on any number of shards, and equal vectors get
equal scores.

Shapes: P = PASSAGES rows and Q = QUERIES columns of a tile, D the dimension of the vectors.

    queries [queries, D] --query_blocks, load_block--> block [D, Q], zeros beyond the last query
    shard.vectors [rows, D], rows start .. start + rows of the corpus
    tile [P, Q] = shard.vectors[tile_start : tile_start + P] @ block, zeros beyond the last passage
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.ranks import Ranks

QUERIES = 512
"""Columns of a tile."""
PASSAGES = 1024
"""Rows of a tile."""


def shard_bounds(passages: int, shards: int) -> list[range]:
    """The passage numbers of each shard: consecutive runs of whole tiles."""
    tiles = -(-passages // PASSAGES)
    edges = [min(passages, tiles * shard // shards * PASSAGES) for shard in range(shards + 1)]
    return [range(low, high) for low, high in pairwise(edges)]


@dataclass(frozen=True)
class Shard:
    """The vectors of the passages `start`, `start + 1`, ... on the device that scores them."""

    start: int
    """Passage number of the first row."""
    vectors: torch.Tensor
    """[rows, D], fp32 or fp16; scores are fp32 either way."""

    @classmethod
    def of(cls, start: int, vectors: np.ndarray, device: torch.device) -> "Shard":
        return cls(start, torch.from_numpy(np.ascontiguousarray(vectors)).to(device))

    @property
    def num_rows(self) -> int:
        return len(self.vectors)

    @property
    def tile_starts(self) -> range:
        """The first row of each of this shard's tiles."""
        return range(0, self.num_rows, PASSAGES)

    def score(self, tile_start: int, block: torch.Tensor, out: torch.Tensor) -> int:
        """Write the tile's scores into `out` [P, Q]; returns how many rows are not padding."""
        passages = self.vectors[tile_start : tile_start + PASSAGES].float()
        rows = len(passages)
        if rows < PASSAGES:
            padding = passages.new_zeros(PASSAGES - rows, passages.shape[1])
            passages = torch.cat([passages, padding])
        torch.mm(passages, block, out=out)
        return rows


def query_blocks(queries: int) -> list[range]:
    """The query numbers of each column of tiles."""
    return [range(q, min(q + QUERIES, queries)) for q in range(0, queries, QUERIES)]


def load_block(queries: np.ndarray, device: torch.device) -> torch.Tensor:
    """Up to Q query vectors [queries, D] as a block [D, Q], padded with zeros."""
    block = torch.zeros(QUERIES, queries.shape[1], device=device)
    block[: len(queries)] = torch.from_numpy(np.ascontiguousarray(queries))
    return block.T


def new_tiles(count: int, device: torch.device) -> torch.Tensor:
    """Uninitialized tiles, [count, P, Q]."""
    return torch.empty(count, PASSAGES, QUERIES, device=device)


def check_vectors(vectors: np.ndarray, ids: Sequence[str], kind: str, ranks: Ranks) -> None:
    """Refuse vectors with NaN or infinity, on all ranks at once. Each rank passes its own rows."""
    broken = np.flatnonzero(~_finite_rows(vectors))
    by_rank = ranks.gather((len(broken), [ids[int(row)] for row in broken[:3]]))
    count = sum(number for number, _ in by_rank)
    if count:
        first = ", ".join([name for _, names in by_rank for name in names][:3])
        raise UserError(
            f"{count} {kind} vectors have NaN or infinite values (first: {first}); "
            "the model's weights are broken, or its precision is too low"
        )


def _finite_rows(vectors: np.ndarray) -> np.ndarray:
    """Whether each row is finite; in blocks, since the array may be mapped and exceed memory."""
    starts = range(0, len(vectors), PASSAGES)
    return np.concatenate(
        [np.isfinite(vectors[n : n + PASSAGES]).all(axis=1) for n in starts] or [np.ones(0, bool)]
    )
