"""The grid of tiles on which every score is computed.

The shape and the positions of tiles depend on the device, the number of passages and the number of
queries only: a shard is a run of whole tiles, and the last tile is padded with zeros. So every
score has the same bits on any number of shards, and equal vectors get equal scores.

Shapes: P rows and Q columns of a tile (Grid), D the dimension of the vectors.

    queries [queries, D] --Grid.blocks, Grid.load--> block [D, Q], zeros beyond the last query
    shard.vectors [rows, D], rows start .. start + rows of the corpus
    tile [P, Q] = shard.vectors[tile_start : tile_start + P] @ block, zeros beyond the last passage
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.ranks import Ranks

QUERIES = 512
"""Columns of a tile on a CPU; on a GPU, columns are a multiple of it."""
PASSAGES = 1024
"""Rows of a tile on a CPU, and the fewest on a GPU."""
GPU_QUERIES, GPU_PASSAGES = 2048, 16384
"""The most columns and rows of a tile on a GPU, where small tiles leave most of the card idle."""
SHARED_TILES = 64
"""A corpus has at least as many tiles where PASSAGES allow, so that shards are about equal."""
CARD_RESERVE = 4 << 30
"""Bytes of a card that passages leave for tiles, queries and FAISS's temporary memory."""
BYTE_MAX = 255
"""Rows that a byte can count."""


@dataclass(frozen=True)
class Grid:
    """The shape of tiles, and how they are counted on the device that it is made for."""

    rows: int = PASSAGES
    """P"""
    columns: int = QUERIES
    """Q"""
    kept_bytes: int = 64 << 20
    """Memory for tiles that are kept after the first scan, which the second need not compute."""
    slots: int = 16
    """Targets of one query that are compared with a tile at once."""
    run: int = BYTE_MAX
    """Rows whose booleans are added at once. Up to BYTE_MAX, eight are added as one 64-bit word of
    bytes, which is what a CPU does best; a GPU adds whole columns in one call."""

    @classmethod
    def of(cls, device: torch.device, queries: int, passages: int) -> "Grid":
        """The grid of so many queries and passages; the same on all ranks."""
        if device.type == "cpu":
            return cls()
        rows = PASSAGES
        while rows < GPU_PASSAGES and passages >= 2 * rows * SHARED_TILES:
            rows *= 2
        columns = min(GPU_QUERIES, -(-queries // QUERIES) * QUERIES)
        return cls(rows, columns, kept_bytes=256 << 20, slots=4, run=GPU_PASSAGES)

    def shards(self, passages: int, shards: int) -> list[range]:
        """The passage numbers of each shard: consecutive runs of whole tiles."""
        tiles = -(-passages // self.rows)
        edges = [min(passages, tiles * shard // shards * self.rows) for shard in range(shards + 1)]
        return [range(low, high) for low, high in pairwise(edges)]

    def blocks(self, queries: int) -> list[range]:
        """The query numbers of each column of tiles."""
        return [range(q, min(q + self.columns, queries)) for q in range(0, queries, self.columns)]

    def load(self, queries: np.ndarray, device: torch.device) -> torch.Tensor:
        """Up to Q query vectors [queries, D] as a block [D, Q], padded with zeros."""
        block = torch.zeros(self.columns, queries.shape[1], device=device)
        block[: len(queries)] = torch.from_numpy(np.ascontiguousarray(queries))
        return block.T

    def most_kept(self) -> int:
        """How many tiles may be kept."""
        return max(1, self.kept_bytes // (4 * self.rows * self.columns))

    def new_tiles(self, count: int, device: torch.device) -> torch.Tensor:
        """Uninitialised tiles, [count, P, Q]."""
        return torch.empty(count, self.rows, self.columns, device=device)


@dataclass(frozen=True)
class Shard:
    """The vectors of the passages `start`, `start + 1`, ... on the device that scores them."""

    start: int
    """Passage number of the first row."""
    vectors: torch.Tensor
    """[rows, D], fp32 or fp16; scores are fp32 either way. In the host's memory where they do not
    fit on the card, and copied to it in parts."""
    grid: Grid = field(default_factory=Grid)
    card: torch.device | None = None
    """Computes the scores of vectors that are in the host's memory; None: they are on it."""

    @classmethod
    def of(
        cls, start: int, vectors: np.ndarray, device: torch.device, grid: Grid | None = None
    ) -> "Shard":
        on_host = torch.from_numpy(np.ascontiguousarray(vectors))
        if on_host.nbytes + CARD_RESERVE > free_memory(device):
            return cls(start, on_host, grid or Grid(), device)
        return cls(start, on_host.to(device), grid or Grid())

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""
        return self.card or self.vectors.device

    @property
    def num_rows(self) -> int:
        return len(self.vectors)

    @property
    def tile_starts(self) -> range:
        """The first row of each of this shard's tiles."""
        return range(0, self.num_rows, self.grid.rows)

    def score(self, tile_start: int, block: torch.Tensor, out: torch.Tensor) -> int:
        """Write the tile's scores into `out` [P, Q]; returns how many rows are not padding."""
        passages = self.tile(tile_start)
        torch.mm(passages, block, out=out)
        return min(self.grid.rows, self.num_rows - tile_start)

    def tile(self, tile_start: int) -> torch.Tensor:
        """The passages of a tile in fp32, [P, D]."""
        return self._padded(self.vectors[tile_start : tile_start + self.grid.rows])

    def score_rows(self, rows: torch.Tensor, block: torch.Tensor, out: torch.Tensor) -> None:
        """Write the scores of up to P rows into the first of `out` [P, Q]: those that `score` gives
        them, to the bit, since a score does not depend on its row of a tile."""
        torch.mm(self._padded(self.gathered(rows)), block, out=out)

    def gathered(self, rows: torch.Tensor) -> torch.Tensor:
        """The passages in some rows [n], fp32 [n, D]."""
        return self.vectors[rows.to(self.vectors.device)].to(self.device).float()

    def _padded(self, passages: torch.Tensor) -> torch.Tensor:
        passages = passages.to(self.device).float()
        if len(passages) < self.grid.rows:
            padding = passages.new_zeros(self.grid.rows - len(passages), passages.shape[1])
            passages = torch.cat([passages, padding])
        return passages


def searched(blocks: Sequence[range]) -> Iterator[range]:
    """The blocks of queries, one after another, with progress."""
    with progress_bar.part("searching", sum(map(len, blocks))) as advance:
        for block in blocks:
            yield block
            advance(len(block))


def free_memory(device: torch.device) -> float:
    """Bytes that can be had on a card, torch's cache included; a CPU's vectors are in memory."""
    if device.type != "cuda":
        return math.inf
    torch.cuda.empty_cache()  # to the driver, cached memory is used
    return torch.cuda.mem_get_info(device)[0]


def check_vectors(
    vectors: np.ndarray, name_of: Callable[[int], str], kind: str, ranks: Ranks
) -> None:
    """Refuse vectors with NaN or infinity, on all ranks at once. Each rank passes its own rows."""
    broken = np.flatnonzero(~_finite_rows(vectors))
    by_rank = ranks.gather((len(broken), [name_of(int(row)) for row in broken[:3]]))
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
