"""Which pair of languages each row of a batch is in: the question's, then the passage's."""

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
        self.names = [f"{asked}_to_{told}" for asked in languages for told in languages]
        """Of pair number i: `en_to_de` is an English question with a German passage."""

    def of(self, batch: GlobalBatch, rows: np.ndarray) -> np.ndarray:
        """Of some rows of a batch: the numbers of their pairs."""
        index, numbers = self._indexes[batch.stream.source], self._numbers[batch.stream.source]
        asked, told = (
            numbers[index.language_of(where[rows])]
            for where in (batch.query_row, batch.passage_row)
        )
        return asked * self._languages + told
