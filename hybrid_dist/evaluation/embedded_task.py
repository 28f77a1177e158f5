"""The vectors of a task, embedded on demand by all ranks, which take an equal amount of text each.

Shards of the passages are runs of equal numbers, but texts of one language are longer than those of
another, and a character of one script is not worth as many tokens as that of another. So the texts
of each language are dealt to the ranks by length; their vectors go to the ranks that hold them
afterwards.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.evaluation.task_vectors import Embedder
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.ranks import Ranks

READ = 1 << 14
"""Texts that are in memory at once while their lengths are counted."""
EXCHANGED = 1 << 17
"""Texts of all ranks whose vectors are exchanged at once."""


@dataclass(frozen=True)
class EmbeddedTask:
    """All ranks ask together, each for its own texts: consecutive ones, or none."""

    task: Task
    embedder: Embedder
    ranks: Ranks

    @property
    def name(self) -> str:
        return self.embedder.name

    def queries(self, rows: slice) -> np.ndarray:
        task = self.task
        return self._embedded(
            task.query_texts, task.query_language, rows, self.embedder.encode_queries, "queries"
        )

    def passages(self, rows: slice) -> np.ndarray:
        task = self.task
        return self._embedded(
            task.passage_texts,
            task.passage_language,
            rows,
            self.embedder.encode_passages,
            "passages",
        )

    def _embedded(
        self,
        texts: Sequence[str],
        languages: np.ndarray,
        rows: slice,
        encode: Callable[[Sequence[str]], np.ndarray],
        kind: str,
    ) -> np.ndarray:
        """The vectors of this rank's texts [rows, D]."""
        if self.ranks.world == 1:
            return _float32(encode(texts[rows]))
        own = np.arange(rows.start, rows.stop)
        blocks = (slice(n, min(n + READ, rows.stop)) for n in range(rows.start, rows.stop, READ))
        lengths = np.fromiter((len(text) for part in blocks for text in texts[part]), np.int64)
        table = self.ranks.gather_rows(np.stack([own, lengths, languages[rows]], axis=1))
        numbers, sizes, codes = table.T
        dealt = deal(numbers, sizes, codes, self.ranks.world)
        vectors = np.empty((len(own), encode([]).shape[1]), np.float32)
        step = max(1, EXCHANGED // self.ranks.world)
        with progress_bar.part(f"embedding {kind}", len(dealt[self.ranks.rank])):
            for low in range(0, max(map(len, dealt)), step):
                parts = [numbers[low : low + step] for numbers in dealt]
                embedded = encode([texts[int(number)] for number in parts[self.ranks.rank]])
                there = np.concatenate(parts) - rows.start
                here = (there >= 0) & (there < len(own))
                vectors[there[here]] = self.ranks.gather_rows(_float32(embedded))[here]
        return vectors


def deal(
    numbers: np.ndarray, lengths: np.ndarray, languages: np.ndarray, world: int
) -> list[np.ndarray]:
    """The texts of each rank, ascending: those of a language, longest first, each to the rank with
    the least text of this language."""
    owner = np.empty(len(numbers), np.int64)
    for code in np.unique(languages):
        rows = np.flatnonzero(languages == code)
        rows = rows[np.lexsort((numbers[rows], -lengths[rows]))]
        loads = [(0, rank) for rank in range(world)]
        for row, length in zip(rows.tolist(), lengths[rows].tolist(), strict=True):
            load, owner[row] = loads[0]
            heapq.heapreplace(loads, (load + length + 1, int(owner[row])))
    return [np.sort(numbers[owner == rank]) for rank in range(world)]


def _float32(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, dtype=np.float32)
