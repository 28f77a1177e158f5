"""The language pair of each row of a batch: the query's language, then the passage's."""

from collections.abc import Sequence

import numpy as np

from hybrid_dist.batching.plan import GlobalBatch
from hybrid_dist.data.store.index import TrainingSource


class LanguagePairs:
    """Numbers ordered pairs of languages alike for all sources and on all ranks."""

    def __init__(self, sources: Sequence[TrainingSource]) -> None:
        self._indexes = [source.index for source in sources]
        languages = sorted({name for index in self._indexes for name in index.languages})
        self.languages = tuple(languages)
        self._numbers = [
            np.array([languages.index(name) for name in index.languages], np.int64)
            for index in self._indexes
        ]
        self.names = [
            f"{query_lang}_to_{passage_lang}"
            for query_lang in languages
            for passage_lang in languages
        ]
        """Name of each language pair: `en_to_de` is an English query with a German passage."""

    def of(self, batch: GlobalBatch, rows: np.ndarray) -> np.ndarray:
        """Numbers of the language pairs of some rows of a batch [rows]."""
        index, numbers = self._indexes[batch.stream.source], self._numbers[batch.stream.source]
        query_lang, passage_lang = (
            numbers[index.language_of(store_rows[rows])]
            for store_rows in (batch.query_row, batch.passage_row)
        )
        return query_lang * len(self.languages) + passage_lang
