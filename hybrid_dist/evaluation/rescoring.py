"""Two-stage search: the best passages by their codes, scored again with the whole vectors.

For every query the best N passages of each language are found by coarse scores and ordered by fine
ones; those behind them keep their coarse order. The pool of all languages is treated the same: its
best N are among the best N of its languages.

Shapes: L languages, N rescored passages, Q queries of a block, T targets of the block.

    keys [L, N, Q]     coarse score and passage number of the candidates, best first; NO_KEY where a
                       language has fewer than N passages
    numbers [L, N, Q]  their passage numbers
    fine [L, N, Q]     their scores with the whole vectors
"""

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.candidates import LOW_BITS, keys_of
from hybrid_dist.evaluation.ranking import Ranking, language_runs
from hybrid_dist.evaluation.search import NO_PASSAGE, TopK
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Grid, Shard, searched
from hybrid_dist.runtime.ranks import Ranks

MAX_BYTES = 1 << 30
NO_KEY = np.iinfo(np.int64).min


def rescore(
    task: Task,
    queries: np.ndarray,
    coarse: Shard,
    fine: Shard,
    rescored: int,
    coarse_ranking: Ranking,
    depth: int,
    ranks: Ranks,
) -> tuple[Ranking, TopK]:
    """The ranking after the best `rescored` of each pool are scored again, and the top `depth`.

    `coarse` and `fine` hold the same passages of this rank. `coarse_ranking` is that of all ranks'
    coarse shards.
    """
    kept = max(depth, _candidates_of_language(task, rescored))
    in_language, pooled = coarse_ranking.in_language.copy(), coarse_ranking.pooled.copy()
    top_numbers, top_scores = [], []
    for block in searched(coarse.grid.blocks(len(queries))):
        vectors = coarse.grid.load(queries[block.start : block.stop], ranks.device)
        own_keys = _candidates(task, coarse, vectors, kept)[:, :, : len(block)]
        keys = np.stack([_best_of_ranks(of_language, ranks) for of_language in own_keys])
        fine_scores = _fine_scores(keys, fine, vectors, ranks)
        targets = slice(*task.relevant_starts[[block.start, block.stop]].tolist())
        column = task.pair_query[targets] - block.start
        number = task.relevant[targets]
        own = _Candidates(_numbers(keys), fine_scores)
        code = task.passage_language[number]
        in_language[targets] = own.rank(code, column, number, in_language[targets])
        merged = _best_of_all(keys, fine_scores, rescored)
        pooled[targets] = merged.rank(np.zeros_like(code), column, number, pooled[targets])
        numbers, scores = merged.top(depth)
        top_numbers.append(numbers)
        top_scores.append(scores)
    method = (
        f"torch {torch.__version__} on {ranks.device.type}: the best {rescored:,} of each pool by "
        "codes, scored again"
    )
    top = TopK(np.concatenate(top_numbers), np.concatenate(top_scores), method)
    return Ranking(in_language, pooled), top


def check_memory(task: Task, rescored: int, grid: Grid) -> None:
    """Refuse more candidates of a block of queries than MAX_BYTES."""
    languages = len(task.languages)
    needed = 8 * grid.columns * languages * _candidates_of_language(task, rescored)
    if needed > MAX_BYTES:
        raise UserError(
            f"--quantise: the best {rescored:,} passages in each of {languages} languages take "
            f"{needed / 2**30:.1f} GiB for {grid.columns} queries; score fewer again"
        )


def _candidates_of_language(task: Task, rescored: int) -> int:
    """No language has more passages than the largest."""
    return min(rescored, int(np.bincount(task.passage_language).max()))


def _candidates(task: Task, coarse: Shard, block: torch.Tensor, count: int) -> np.ndarray:
    """[L, N, Q]: the keys of this shard's best passages of every language."""
    device, grid = coarse.device, coarse.grid
    languages, columns = len(task.languages), block.shape[1]
    best = torch.full((languages, count, columns), NO_KEY, device=device)
    tile = grid.new_tiles(1, device)[0]
    for start in coarse.tile_starts:
        rows = coarse.score(start, block, tile)
        first = coarse.start + start
        numbers = torch.arange(first, first + rows, device=device)
        keys = keys_of(tile[:rows], numbers[:, None])
        for low, high, code in language_runs(task.passage_language[first : first + rows], rows):
            both = torch.cat([best[code], keys[low:high]])
            best[code] = both.topk(count, dim=0).values
    return best.cpu().numpy()


def _best_of_ranks(keys: np.ndarray, ranks: Ranks) -> np.ndarray:
    """[N, Q]: the best of all ranks' candidates of a language, best first."""
    return np.sort(ranks.gather_rows(np.ascontiguousarray(keys)), axis=0)[::-1][: len(keys)]


def _fine_scores(keys: np.ndarray, fine: Shard, block: torch.Tensor, ranks: Ranks) -> np.ndarray:
    """[L, N, Q]: fine scores of the candidates, -inf where there is none."""
    numbers = _numbers(keys)
    order = np.argsort(numbers, axis=None, kind="stable")
    ascending = numbers.ravel()[order]
    scores = np.zeros(keys.shape, np.float32)
    tile = fine.grid.new_tiles(1, fine.device)[0]
    for start in fine.tile_starts:
        first = fine.start + start
        rows = min(fine.grid.rows, fine.num_rows - start)
        low, high = np.searchsorted(ascending, [first, first + rows])
        if low < high:
            here = np.unravel_index(order[low:high], keys.shape)
            fine.score(start, block, tile)
            row = torch.from_numpy(numbers[here] - first).to(tile.device)
            column = torch.from_numpy(here[2]).to(tile.device)
            scores[here] = tile[row, column].cpu().numpy()
    return np.where(numbers == NO_PASSAGE, -np.inf, ranks.sum(scores))


def _numbers(keys: np.ndarray) -> np.ndarray:
    return np.where(keys == NO_KEY, NO_PASSAGE, LOW_BITS - (keys & LOW_BITS))


class _Candidates:
    """The candidates of some pools, in the order of their fine scores."""

    def __init__(self, numbers: np.ndarray, scores: np.ndarray) -> None:
        """Both are [pools, N, Q]."""
        order = np.lexsort((numbers, -scores), axis=1)
        self.numbers = np.take_along_axis(numbers, order, 1)
        self.scores = np.take_along_axis(scores, order, 1)

    def rank(
        self, pool: np.ndarray, column: np.ndarray, number: np.ndarray, otherwise: np.ndarray
    ) -> np.ndarray:
        """[T]: the rank of passages in pools; `otherwise` [T] where they are no candidates."""
        is_here = self.numbers[pool, :, column] == number[:, None]
        return np.where(is_here.any(axis=1), is_here.argmax(axis=1) + 1, otherwise)

    def top(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and scores [Q, depth] of the first pool."""
        return self.numbers[0, :depth].T, self.scores[0, :depth].T


def _best_of_all(keys: np.ndarray, fine: np.ndarray, count: int) -> _Candidates:
    """The best N of all languages by their coarse keys."""
    flat, scores = keys.reshape(-1, keys.shape[2]), fine.reshape(-1, keys.shape[2])
    kept = np.argsort(flat, axis=0)[::-1][:count]
    numbers = _numbers(np.take_along_axis(flat, kept, 0))
    return _Candidates(numbers[None], np.take_along_axis(scores, kept, 0)[None])
