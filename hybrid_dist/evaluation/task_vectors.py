"""The vectors of a task on the ranks: those of all queries on each, passages in shards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hybrid_dist.evaluation.debiasing import Debiasing
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import check_vectors
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.ranks import Ranks

FP16_BLOCK = 1 << 16
"""Passages that are held in fp32 at once where shards are fp16."""


class Embedder(Protocol):
    """Maps texts to float32 vectors of norm 1, [texts, dimension].

    Ranks call it together, each with its own texts. Their number differs between ranks and may be
    0, which gives [0, dimension].
    """

    @property
    def name(self) -> str: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray: ...

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray: ...


class Vectors(Protocol):
    """The float32 vectors of a task, by query and passage number; no norm exceeds 1."""

    @property
    def name(self) -> str: ...

    def queries(self, rows: slice) -> np.ndarray: ...

    def passages(self, rows: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class HeldVectors:
    """Vectors in memory: those of all queries, and of one rank's passages."""

    all_queries: np.ndarray
    """[queries, D]"""
    own_passages: np.ndarray
    """[passages of the rank, D]"""
    start: int
    """Passage number of the first."""
    name: str = "held in memory"

    def queries(self, rows: slice) -> np.ndarray:
        return self.all_queries[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self.own_passages[rows.start - self.start : rows.stop - self.start]


@dataclass(frozen=True)
class TaskVectors:
    """Reads the vectors of a task, each rank its part, and debiases them."""

    task: Task
    vectors: Vectors
    ranks: Ranks
    debiasing: Debiasing | None
    log: Callable[[str], None]

    def queries(self) -> np.ndarray:
        """The vectors of all queries [queries, D] on every rank; each embeds its share."""
        task, ranks = self.task, self.ranks
        edges = [len(task.query_ids) * rank // ranks.world for rank in range(ranks.world + 1)]
        own = slice(edges[ranks.rank], edges[ranks.rank + 1])
        queries = self.vectors.queries(own)
        texts = task.query_language[own], task.query_ids, own
        check_vectors(queries, lambda row: self._name(row, *texts), "query", ranks)
        return ranks.gather_rows(self._debiased(queries, *texts, "queries"))

    def passages(self, numbers: range, half: bool = False) -> np.ndarray:
        """The vectors of this rank's passages, in fp16 if `half`."""
        task, own = self.task, slice(numbers.start, numbers.stop)
        passages = self._in_fp16(numbers) if half else self.vectors.passages(own)
        texts = task.passage_language[own], task.passage_ids, own
        check_vectors(passages, lambda row: self._name(row, *texts), "passage", self.ranks)
        return self._debiased(passages, *texts, "passages")

    def _name(self, row: int, languages: np.ndarray, ids: Sequence[str], own: slice) -> str:
        return f"{ids[own.start + row]} in {self.task.languages[languages[row]]}"

    def _debiased(
        self, vectors: np.ndarray, languages: np.ndarray, ids: Sequence[str], own: slice, side: str
    ) -> np.ndarray:
        """Vectors without their languages; logs the languages that are left alone."""
        if self.debiasing is None:
            return vectors
        task, count = self.task, len(self.task.languages)
        result, alone = self.debiasing.apply(vectors, languages, ids[own], count, self.ranks)
        if alone:
            names = ", ".join(task.languages[code] for code in alone)
            self.log(f"{task.name}: too few {side} to remove a language from: {names}")
        return result

    def _in_fp16(self, numbers: range) -> np.ndarray:
        """Passages in fp16, converted in blocks so that they are never all in fp32."""
        passages = np.empty((0, 0), dtype=np.float16)
        most = max(self.ranks.gather(len(numbers)))
        with progress_bar.part("loading passages", len(numbers)) as advance:
            for low in range(0, max(1, most), FP16_BLOCK):  # as often on every rank
                part = numbers[low : low + FP16_BLOCK]
                block = self.vectors.passages(slice(part.start, part.stop))
                if low == 0:
                    passages = np.empty((len(numbers), block.shape[1]), dtype=np.float16)
                passages[low : low + len(block)] = block
                advance(len(block))
        return passages
