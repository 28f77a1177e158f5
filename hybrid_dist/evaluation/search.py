"""The top k passages of every query, identical for any backend and any number of shards.

FAISS (or torch, where FAISS is not installed) proposes k + SPARE candidates per shard. These are
rescored pair by pair in float64, which depends on the two vectors alone, and merged by (score,
passage number). FAISS breaks ties arbitrarily: where its last candidate may tie with one that it
left out, the shard is searched tile by tile instead.

Shapes: Q queries, D dimensions, C = min(k + SPARE, rows of a shard) candidates.

    queries [Q, D]       all queries, on every rank
    shard.vectors [rows, D]
    rows [Q, C]          candidates as rows of the shard: what a backend proposes
    numbers, scores [Q, C]   passage numbers (row + shard.start) and rescored inner products
    TopK.numbers, .scores [Q, k]   merged over shards and ranks, best first
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tiles import PASSAGES, Shard
from hybrid_dist.runtime.ranks import Ranks

EXACT = "Flat"
"""The factory string of exhaustive search."""
SAMPLE = 200
"""Queries on which the recall of an approximate index is measured."""
SPARE = 16
"""Candidates beyond k that each shard proposes."""
SLACK = 1e-5
"""Bounds the difference between two float32 summations of an inner product of unit vectors."""
FP32_BLOCK = 16 * PASSAGES
"""Passages in fp16 that are converted to fp32 for FAISS at once."""
NO_PASSAGE = -1
"""Fills the passage numbers where a pool has fewer than k passages."""
LOW_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class TopK:
    """The top passages of every query, best first."""

    numbers: np.ndarray
    """[Q, k]: passage numbers; NO_PASSAGE where the pool is smaller."""
    scores: np.ndarray
    """[Q, k]"""
    method: str
    """The backend that proposed them, for the report."""

    def first(self, k: int) -> "TopK":
        """The first k columns."""
        return TopK(self.numbers[:, :k], self.scores[:, :k], self.method)


def top_k(
    queries: np.ndarray, shards: Sequence[Shard], k: int, ranks: Ranks, index: str = EXACT
) -> TopK:
    """The top k over the shards of all ranks, on every rank.

    With the factory string of an approximate FAISS index the top k are those that the index
    returns, and `method` states its recall on a sample of the queries.
    """
    if index != EXACT:
        return _search_index(queries, shards, k, ranks, index)
    with_faiss = ranks.device.type == "cpu" and _has_faiss()
    results = [_search_shard(queries, shard, k, with_faiss) for shard in shards if shard.num_rows]
    merged = _merge_ranks(results, len(queries), k, ranks)
    return TopK(*merged, _method(with_faiss, ranks.device))


def check_index(index: str, dimension: int) -> None:
    """Refuse a factory string from which FAISS cannot build an index of this dimension."""
    if index == EXACT:
        return
    if not _has_faiss():
        raise UserError(f"--index {index}: needs faiss, which is not installed; leave --index out")
    _build_index(index, dimension)


def _build_index(index: str, dimension: int) -> Any:
    import faiss

    try:
        return faiss.index_factory(dimension, index, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise _index_error(index, f"of dimension {dimension}", error) from None


def _index_error(index: str, vectors: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0].rpartition(" failed: ")[2]
    return UserError(
        f"--index {index}: faiss cannot build this index from vectors {vectors} ({reason}); give "
        "a factory string such as IVF256,Flat"
    )


def _search_index(
    queries: np.ndarray, shards: Sequence[Shard], k: int, ranks: Ranks, index: str
) -> TopK:
    """The top k of an approximate index, rescored and merged as those of an exact search."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    results = []
    for shard in shards:
        if shard.num_rows:
            vectors = shard.vectors.float().cpu().numpy()
            faiss_index = _build_index(index, vectors.shape[1])
            try:
                faiss_index.train(vectors)
                faiss_index.add(vectors)
            except RuntimeError as error:
                on_rank = f"({shard.num_rows:,} on a rank)"
                raise _index_error(index, on_rank, error) from None
            _, rows = faiss_index.search(
                np.ascontiguousarray(queries), min(k + SPARE, shard.num_rows)
            )
            numbers, scores = _rescore(queries, shard, np.maximum(rows, 0))
            numbers[rows < 0], scores[rows < 0] = NO_PASSAGE, -np.inf
            results.append((numbers, scores))
    numbers, scores = _merge_ranks(results, len(queries), k, ranks)
    sample = np.linspace(0, len(queries) - 1, min(len(queries), SAMPLE)).astype(np.int64)
    exact = top_k(queries[sample], shards, k, ranks).numbers
    pairs = zip(numbers[sample].tolist(), exact.tolist(), strict=True)
    hits = sum(len(set(approximate) & set(true) - {NO_PASSAGE}) for approximate, true in pairs)
    recall = hits / np.sum(exact != NO_PASSAGE)
    method = (
        f"faiss {faiss.__version__} {index}, which finds {recall:.2%} of "
        f"the best {k} of {len(sample)} queries"
    )
    return TopK(numbers, scores, method)


def _merge_ranks(
    results: Sequence[tuple[np.ndarray, np.ndarray]], queries: int, k: int, ranks: Ranks
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the results of all ranks' shards: numbers and scores [Q, k], on every rank."""
    no_scores = np.full((queries, k), -np.inf, dtype=np.float32)
    results = [*results, (np.full((queries, k), NO_PASSAGE), no_scores)]
    numbers, scores = _merge(results, k)
    by_rank = list(
        zip(
            np.split(ranks.gather_rows(numbers), ranks.world),
            np.split(ranks.gather_rows(scores), ranks.world),
            strict=True,
        )
    )
    return _merge(by_rank, k)


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _method(with_faiss: bool, device: torch.device) -> str:
    if with_faiss:
        import faiss

        return f"faiss {faiss.__version__}, exact"
    return f"torch {torch.__version__} on {device.type}"


def _merge(
    results: Sequence[tuple[np.ndarray, np.ndarray]], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first k of each query by descending score, then ascending passage number."""
    numbers = np.concatenate([numbers for numbers, _ in results], axis=1)
    scores = np.concatenate([scores for _, scores in results], axis=1)
    order = np.lexsort((numbers, -scores), axis=1)[:, :k]
    return np.take_along_axis(numbers, order, 1), np.take_along_axis(scores, order, 1)


def _search_shard(
    queries: np.ndarray, shard: Shard, k: int, with_faiss: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and scores [Q, C] of one shard's candidates."""
    candidates = min(k + SPARE, shard.num_rows)
    if not with_faiss:
        rows = _propose_by_tiles(queries, shard, candidates)
        return _rescore(queries, shard, rows)
    rows, last_scores = _propose_by_faiss(queries, shard, candidates)
    numbers, scores = _rescore(queries, shard, rows)
    if candidates < shard.num_rows:
        ambiguous = np.flatnonzero(last_scores >= np.sort(scores, axis=1)[:, -k] - SLACK)
        rows = _propose_by_tiles(queries[ambiguous], shard, candidates)
        numbers[ambiguous], scores[ambiguous] = _rescore(queries[ambiguous], shard, rows)
    return numbers, scores


def _propose_by_faiss(
    queries: np.ndarray, shard: Shard, candidates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the best passages [Q, C], and the score of the last of each query [Q]."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    queries, metric = np.ascontiguousarray(queries), faiss.METRIC_INNER_PRODUCT
    if shard.vectors.dtype == torch.float32:
        passages = shard.vectors.numpy()  # without an index, which would hold a second copy
        scores, rows = faiss.knn(queries, passages, candidates, metric=metric)
        return rows, scores[:, -1]
    scores = np.full((len(queries), candidates), -np.inf, dtype=np.float32)
    rows = np.zeros(scores.shape, dtype=np.int64)
    for low in range(0, shard.num_rows, FP32_BLOCK):
        block = shard.vectors[low : low + FP32_BLOCK].float().numpy()
        top, places = faiss.knn(queries, block, min(candidates, len(block)), metric=metric)
        scores, rows = np.hstack([scores, top]), np.hstack([rows, places + low])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :candidates]
        scores = np.take_along_axis(scores, best, 1)
        rows = np.take_along_axis(rows, best, 1)
    return rows, scores[:, -1]


def _propose_by_tiles(queries: np.ndarray, shard: Shard, candidates: int) -> np.ndarray:
    """Rows of the best passages [Q, C] by (score, row), tile by tile.

    Score and row form one integer key, so that keys are distinct and torch.topk is deterministic.
    """
    device, grid = shard.vectors.device, shard.grid
    proposals = [np.empty((0, candidates), dtype=np.int64)]
    tile = grid.new_tiles(1, device)[0]
    for block in grid.blocks(len(queries)):
        vectors = grid.load(queries[block.start : block.stop], device)
        best = torch.empty(0, vectors.shape[1], dtype=torch.int64, device=device)
        for start in shard.tile_starts:
            real = shard.score(start, vectors, tile)
            rows = torch.arange(start, start + real, device=device)
            keys = torch.cat([best, _keys(tile[:real], rows)])
            best = keys.topk(min(candidates, len(keys)), dim=0).values
        proposals.append((LOW_BITS - (best & LOW_BITS)).T[: len(block)].cpu().numpy())
    return np.concatenate(proposals)


def _keys(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """int64 keys ordered by score, then smaller row first; adding 0 makes -0 equal to 0."""
    bits = (scores + 0.0).view(torch.int32)
    ascending = torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).to(torch.int64)
    return (ascending << 32) | (LOW_BITS - rows)[:, None]


def _rescore(queries: np.ndarray, shard: Shard, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Passage numbers and scores of candidate rows [Q, C], each product summed in float64."""
    scores = np.empty(rows.shape, dtype=np.float32)
    step = 64
    for low in range(0, len(rows), step):
        block = rows[low : low + step]
        passages = shard.vectors[torch.from_numpy(block).to(shard.vectors.device)]
        products = passages.cpu().numpy() * queries[low : low + step, None].astype(np.float64)
        scores[low : low + step] = products.sum(axis=2)
    return rows + shard.start, scores
