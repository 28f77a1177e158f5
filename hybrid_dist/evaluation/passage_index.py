"""Passages with their vectors in a folder, for searching them again and again.

The folder is one of `vector_cache`, named by what decides the vectors and what they belong to. It
also lists the passages, so that it is all that another search engine needs:

    passages.npy     vectors of norm 1, float32 [passages, D]
    passages.jsonl   {"id", "lang", "text"} of each row; null for an id or a language not known
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hybrid_dist.data.passages import Passages
from hybrid_dist.data.reading import Text
from hybrid_dist.data.text_sequence import Part
from hybrid_dist.evaluation.search import EXACT, NO_PASSAGE, Searcher, top_k
from hybrid_dist.evaluation.tiles import Grid, Shard
from hybrid_dist.evaluation.vector_cache import CachedVectors, FingerprintedEmbedder
from hybrid_dist.runtime.files import atomic_file
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.text import json_text

LIST = "passages.jsonl"
COLUMNS = 8
"""Queries of a tile: a search has one or a few."""


class Hit(NamedTuple):
    """A passage that was found."""

    score: float
    passage: Text


@dataclass(frozen=True)
class _Texts:
    name: str
    query_texts: Sequence[str]
    passage_texts: Sequence[str]


class PassageIndex:
    """Exact search; passages whose vectors are not in the folder are embedded on construction."""

    def __init__(
        self, passages: Passages, embedder: FingerprintedEmbedder, folder: Path, ranks: Ranks
    ) -> None:
        self.passages, self._embedder, self._ranks = passages, embedder, ranks
        texts = _Texts(f"passages-{passages.fingerprint[:8]}", [], Part(passages.texts, "text"))
        vectors = CachedVectors(texts, embedder, folder, ranks, lambda message: None)
        self.folder = vectors.folder
        """Where they are kept."""
        self._write_list()
        held, grid = vectors.passages(slice(None)), Grid(columns=COLUMNS)
        self._whole = Shard.of(0, held, ranks.device, grid)
        self._searcher = Searcher.choose("auto", EXACT, ranks)

    def search(
        self, queries: Sequence[str], k: int, parts: Sequence[range] = ()
    ) -> list[list[Hit]]:
        """The best k passages of each query, among some runs of passages or all."""
        shards = [self._shard(part) for part in parts] or [self._whole]
        vectors = self._embedder.encode_queries(queries)
        top = top_k(vectors, shards, k, self._ranks, searcher=self._searcher)
        return [
            [
                Hit(score, self.passages.texts[number])
                for number, score in zip(numbers, scores, strict=True)
                if number != NO_PASSAGE
            ]
            for numbers, scores in zip(top.numbers.tolist(), top.scores.tolist(), strict=True)
        ]

    def _shard(self, part: range) -> Shard:
        whole = self._whole
        return Shard(part.start, whole.vectors[part.start : part.stop], whole.grid, whole.card)

    def _write_list(self) -> None:
        """Whatever has the name of this folder has this list."""
        file = self.folder / LIST
        if self._ranks.is_first and not file.exists():
            with atomic_file(file) as out:
                for passage in self.passages.texts:
                    fields = {name: value or None for name, value in passage._asdict().items()}
                    out.write(f"{json_text(fields)}\n".encode())
