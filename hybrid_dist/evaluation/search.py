"""The best k passages of every query, the same whoever searches.

FAISS (or torch, where FAISS is not) proposes somewhat more than k passages of each shard. Those
are scored again, pair by pair, in a way that depends on the two vectors alone, and merged by
(score, number). FAISS orders equal scores by chance: where its proposals end among equals, the
shard's tiles are walked instead.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tiles import PASSAGES, Shard, load_block, new_tiles, query_blocks
from hybrid_dist.runtime.ranks import Ranks

EXACT = "Flat"
"""The index that misses nothing."""
SAMPLE = 200
"""Queries of which what another index misses is counted."""
SPARE = 16
"""How many more than k a shard proposes."""
SLACK = 1e-5
"""More than two ways to sum one product of unit vectors differ by."""
WIDENED = 16 * PASSAGES
"""Passages in fp16 that are turned into fp32 for FAISS at once."""
NOTHING = -1
"""The number where a pool has fewer than k passages."""
LOW_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class TopK:
    """Of each query: the best passages, best first."""

    numbers: np.ndarray
    scores: np.ndarray
    method: str
    """What proposed them."""

    def first(self, k: int) -> "TopK":
        """The best k of them."""
        return TopK(self.numbers[:, :k], self.scores[:, :k], self.method)


def top_k(
    queries: np.ndarray, shards: Sequence[Shard], k: int, ranks: Ranks, index: str = EXACT
) -> TopK:
    """The k best of all ranks' shards, on every rank.

    With the factory string of another index of FAISS the best are those that it finds, and
    `method` says how many of the best of some queries it misses.
    """
    if index != EXACT:
        return _with_index(queries, shards, k, ranks, index)
    with_faiss = ranks.device.type == "cpu" and _has_faiss()
    found = [_search_shard(queries, shard, k, with_faiss) for shard in shards if shard.rows]
    return TopK(*_best_of_all(found, len(queries), k, ranks), _method(with_faiss, ranks.device))


def check_index(index: str, dimension: int) -> None:
    """Refuse a factory string that makes no index of such vectors."""
    if index == EXACT:
        return
    if not _has_faiss():
        raise UserError(f"--index {index}: needs faiss, which is not installed; leave --index out")
    _made(index, dimension)


def _made(index: str, dimension: int) -> Any:
    import faiss

    try:
        return faiss.index_factory(dimension, index, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise _refusal(index, f"of {dimension} numbers", error) from None


def _refusal(index: str, what: str, error: Exception) -> UserError:
    said = str(error).strip().splitlines()[0].rpartition(" failed: ")[2]
    return UserError(
        f"--index {index}: faiss makes no such index of vectors {what} ({said}); give a factory "
        "string as in IVF256,Flat"
    )


def _with_index(
    queries: np.ndarray, shards: Sequence[Shard], k: int, ranks: Ranks, index: str
) -> TopK:
    """What the index finds, scored again and merged as what an exact search finds."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    found = []
    for shard in shards:
        if shard.rows:
            vectors = shard.vectors.float().cpu().numpy()
            searched = _made(index, vectors.shape[1])
            try:
                searched.train(vectors)
                searched.add(vectors)
            except RuntimeError as error:
                raise _refusal(index, f"with {shard.rows:,} of a rank", error) from None
            _, rows = searched.search(np.ascontiguousarray(queries), min(k + SPARE, shard.rows))
            numbers, scores = _rescore(queries, shard, np.maximum(rows, 0))
            numbers[rows < 0], scores[rows < 0] = NOTHING, -np.inf
            found.append((numbers, scores))
    numbers, scores = _best_of_all(found, len(queries), k, ranks)
    some = np.linspace(0, len(queries) - 1, min(len(queries), SAMPLE)).astype(np.int64)
    exact = top_k(queries[some], shards, k, ranks).numbers
    pairs = zip(numbers[some].tolist(), exact.tolist(), strict=True)
    hits = sum(len(set(one) & set(other) - {NOTHING}) for one, other in pairs)
    told = (
        f"faiss {faiss.__version__} {index}, which finds {hits / np.sum(exact != NOTHING):.2%} of "
        f"the best {k} of {len(some)} queries"
    )
    return TopK(numbers, scores, told)


def _best_of_all(
    found: Sequence[tuple[np.ndarray, np.ndarray]], queries: int, k: int, ranks: Ranks
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of what all ranks found in their shards, on every rank."""
    found = [*found, _nothing(queries, k)]
    numbers, scores = _merge(found, k)
    everywhere = list(
        zip(
            np.split(ranks.gather_rows(numbers), ranks.world),
            np.split(ranks.gather_rows(scores), ranks.world),
            strict=True,
        )
    )
    return _merge(everywhere, k)


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _method(with_faiss: bool, device: torch.device) -> str:
    if with_faiss:
        import faiss

        return f"faiss {faiss.__version__}, exact"
    return f"torch {torch.__version__} on {device.type}"


def _nothing(queries: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((queries, k), NOTHING), np.full((queries, k), -np.inf, dtype=np.float32)


def _merge(found: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k by score, then by number."""
    numbers = np.concatenate([numbers for numbers, _ in found], axis=1)
    scores = np.concatenate([scores for _, scores in found], axis=1)
    order = np.lexsort((numbers, -scores), axis=1)[:, :k]
    return np.take_along_axis(numbers, order, 1), np.take_along_axis(scores, order, 1)


def _search_shard(
    queries: np.ndarray, shard: Shard, k: int, with_faiss: bool
) -> tuple[np.ndarray, np.ndarray]:
    asked = min(k + SPARE, shard.rows)
    if not with_faiss:
        rows = _propose_by_tiles(queries, shard, asked)
        return _rescore(queries, shard, rows)
    rows, last = _propose_by_faiss(queries, shard, asked)
    numbers, scores = _rescore(queries, shard, rows)
    if asked < shard.rows:
        unsettled = np.flatnonzero(last >= np.sort(scores, axis=1)[:, -k] - SLACK)
        again = _propose_by_tiles(queries[unsettled], shard, asked)
        numbers[unsettled], scores[unsettled] = _rescore(queries[unsettled], shard, again)
    return numbers, scores


def _propose_by_faiss(
    queries: np.ndarray, shard: Shard, asked: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the best passages, and the score of the last of them."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    asked_for, metric = np.ascontiguousarray(queries), faiss.METRIC_INNER_PRODUCT
    if shard.vectors.dtype == torch.float32:
        passages = shard.vectors.numpy()  # searched where they are: an index would hold them twice
        scores, rows = faiss.knn(asked_for, passages, asked, metric=metric)
        return rows, scores[:, -1]
    scores = np.full((len(queries), asked), -np.inf, dtype=np.float32)
    rows = np.zeros(scores.shape, dtype=np.int64)
    for low in range(0, shard.rows, WIDENED):
        part = shard.vectors[low : low + WIDENED].float().numpy()
        found, places = faiss.knn(asked_for, part, min(asked, len(part)), metric=metric)
        scores, rows = np.hstack([scores, found]), np.hstack([rows, places + low])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :asked]
        scores = np.take_along_axis(scores, best, 1)
        rows = np.take_along_axis(rows, best, 1)
    return rows, scores[:, -1]


def _propose_by_tiles(queries: np.ndarray, shard: Shard, asked: int) -> np.ndarray:
    """Rows of the best passages by (score, row), tile by tile.

    Score and row make one integer key, so that no two are equal and torch.topk has no choice.
    """
    device = shard.vectors.device
    tile = new_tiles(1, device)[0]
    found = [np.empty((0, asked), dtype=np.int64)]
    for block in query_blocks(len(queries)):
        vectors = load_block(queries[block.start : block.stop], device)
        best = torch.empty(0, vectors.shape[1], dtype=torch.int64, device=device)
        for start in shard.tile_starts:
            real = shard.score(start, vectors, tile)
            rows = torch.arange(start, start + real, device=device)
            keys = torch.cat([best, _keys(tile[:real], rows)])
            best = keys.topk(min(asked, len(keys)), dim=0).values
        found.append((LOW_BITS - (best & LOW_BITS)).T[: len(block)].cpu().numpy())
    return np.concatenate(found)


def _keys(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Integers in the order of (score, smaller row first); adding 0 makes -0 equal to 0."""
    bits = (scores + 0.0).view(torch.int32)
    ascending = torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).to(torch.int64)
    return (ascending << 32) | (LOW_BITS - rows)[:, None]


def _rescore(queries: np.ndarray, shard: Shard, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and scores of the rows; every product is summed alone, in float64."""
    scores = np.empty(rows.shape, dtype=np.float32)
    step = 64
    for low in range(0, len(rows), step):
        block = rows[low : low + step]
        passages = shard.vectors[torch.from_numpy(block).to(shard.vectors.device)]
        products = passages.cpu().numpy() * queries[low : low + step, None].astype(np.float64)
        scores[low : low + step] = products.sum(axis=2)
    return rows + shard.start, scores
