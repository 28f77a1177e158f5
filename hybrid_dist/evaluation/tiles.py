"""The grid on which every score is computed.

Scores come in tiles of one shape, at places that do not depend on who computes them: a shard is
a run of whole tiles, and the last tile is filled with zeros. So every score has the same bits
whatever the number of shards, and equal vectors get equal scores.
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
    """The numbers of the passages that each shard holds: whole tiles, dealt in order."""
    tiles = -(-passages // PASSAGES)
    edges = [min(passages, tiles * shard // shards * PASSAGES) for shard in range(shards + 1)]
    return [range(low, high) for low, high in pairwise(edges)]


@dataclass(frozen=True)
class Shard:
    """Vectors of the passages `start`, `start + 1`, ... on the device that scores them.

    In fp32 or fp16; products are fp32 either way.
    """

    start: int
    vectors: torch.Tensor

    @classmethod
    def of(cls, start: int, vectors: np.ndarray, device: torch.device) -> "Shard":
        return cls(start, torch.from_numpy(np.ascontiguousarray(vectors)).to(device))

    @property
    def rows(self) -> int:
        return len(self.vectors)

    @property
    def tile_starts(self) -> range:
        """The first row of each of this shard's tiles."""
        return range(0, self.rows, PASSAGES)

    def score(self, tile_start: int, block: torch.Tensor, out: torch.Tensor) -> int:
        """Fill `out` with the tile's scores [PASSAGES, QUERIES]; say how many rows are real."""
        tile = self.vectors[tile_start : tile_start + PASSAGES].float()
        real = len(tile)
        if real < PASSAGES:
            tile = torch.cat([tile, tile.new_zeros(PASSAGES - real, tile.shape[1])])
        torch.mm(tile, block, out=out)
        return real


def query_blocks(queries: int) -> list[range]:
    """The queries of each column of tiles."""
    return [range(q, min(q + QUERIES, queries)) for q in range(0, queries, QUERIES)]


def load_block(queries: np.ndarray, device: torch.device) -> torch.Tensor:
    """Up to QUERIES vectors as [dimension, QUERIES], filled with zeros."""
    block = torch.zeros(QUERIES, queries.shape[1], device=device)
    block[: len(queries)] = torch.from_numpy(np.ascontiguousarray(queries))
    return block.T


def new_tiles(count: int, device: torch.device) -> torch.Tensor:
    """Room for the scores of so many tiles."""
    return torch.empty(count, PASSAGES, QUERIES, device=device)


def check_vectors(vectors: np.ndarray, ids: Sequence[str], kind: str, ranks: Ranks) -> None:
    """Refuse vectors with NaN or infinity, on all ranks at once. Ids are those of this rank."""
    wrong = np.flatnonzero(~_finite(vectors))
    told = ranks.gather((len(wrong), [ids[int(row)] for row in wrong[:3]]))
    count = sum(number for number, _ in told)
    if count:
        first = ", ".join([name for _, names in told for name in names][:3])
        raise UserError(
            f"{count} {kind} vectors have NaN or infinite values (first: {first}); "
            "the model's weights are broken, or its precision is too low"
        )


def _finite(vectors: np.ndarray) -> np.ndarray:
    """Of each row: whether all is finite; some rows at a time, for they may be mapped."""
    starts = range(0, len(vectors), PASSAGES)
    return np.concatenate(
        [np.isfinite(vectors[n : n + PASSAGES]).all(axis=1) for n in starts] or [np.ones(0, bool)]
    )
