"""Which pair of languages each row of a batch is in: the query's, then the passage's."""

from collections.abc import Sequence

import numpy as np

from hybrid_dist.batching.plan import GlobalBatch
from hybrid_dist.data.store.reader import Source


class LanguagePairs:
    """Numbers for ordered pairs of languages, the same over all sources and on all ranks."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._indexes = [source.index for source in sources]
        languages = sorted({name for index in self._indexes for name in index.languages})
        self._languages = len(languages)
        self._numbers = [
            np.array([languages.index(name) for name in index.languages], np.int64)
            for index in self._indexes
        ]
        self.names = [
            f"{query_lang}_to_{passage_lang}"
            for query_lang in languages
            for passage_lang in languages
        ]
        """Of pair number i: `en_to_de` is an English query with a German passage."""

    def of(self, batch: GlobalBatch, rows: np.ndarray) -> np.ndarray:
        """Of some rows of a batch: the numbers of their pairs."""
        index, numbers = self._indexes[batch.stream.source], self._numbers[batch.stream.source]
        query_lang, passage_lang = (
            numbers[index.language_of(where[rows])]
            for where in (batch.query_row, batch.passage_row)
        )
        return query_lang * self._languages + passage_lang
