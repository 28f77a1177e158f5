"""A store as a torch dataset: an integer indexes a query row and a passage row."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from hybrid_dist.errors import UserError

if TYPE_CHECKING:
    from hybrid_dist.data.hugging_face import HuggingFacePairs
    from hybrid_dist.data.store.reader import Store

NO_CLUSTER = -1
"""The query cluster of a hard negative, which has no query; the same value as the loss's NO_ID."""


class PairDataset(Dataset[dict[str, Any]]):
    """The query of any row of a store with the passage of any row.

    A cross-lingual pair takes its query from one row and its passage from another, so indices
    enumerate all combinations: with R rows, the pair (q, p) has the index q * R + p. Larger indices
    are the same pairs with other hard negatives (see `index_of`). A batch sampler, such as
    HybridBatchSampler, yields the indices that are meant to be trained on.

    An item is a dictionary:
        query, passage            texts
        negative_1, negative_2..  hard negatives of the passage's row: up to `hard_negatives`, fewer
                                  where the store has fewer
        ids                       with `ids=True`: passage cluster and query cluster of the pair,
                                  then of each hard negative. Pairs that agree in either are not
                                  negatives of each other: `InfoNCE` takes them as its `ids`.
    """

    def __init__(self, store: "Store", hard_negatives: int = 0, ids: bool = False) -> None:
        index = store.index
        self.store, self.hard_negatives, self._ids = store, hard_negatives, ids
        self._num_rows = index.num_rows
        listed = np.diff(index.negative_starts) if hard_negatives else np.zeros(1, np.int64)
        self.fewest_negatives = min(hard_negatives, int(listed.min(initial=hard_negatives)))
        """Hard negatives that every item has."""
        self._offsets = max(1, int(listed.max(initial=0)))

    def __len__(self) -> int:
        return min(self._offsets * self._num_rows**2, sys.maxsize)

    def index_of(self, query_row: int, passage_row: int, first_negative: int = 0) -> int:
        """The index of a pair. Its hard negatives are taken from the list of its passage's row,
        cyclically from position `first_negative`."""
        return (first_negative * self._num_rows + query_row) * self._num_rows + passage_row

    def rows_of(self, index: int) -> tuple[int, int]:
        """The query row and the passage row of an index."""
        query_row, passage_row = divmod(index % self._num_rows**2, self._num_rows)
        return query_row, passage_row

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The items of a batch, read together: torch's DataLoader calls this."""
        for index in indices:
            if not 0 <= index < self._offsets * self._num_rows**2:
                raise IndexError(f"index {index} is out of range for {len(self)} pairs")
        rows = np.array([self.rows_of(index) for index in indices], np.int64).reshape(-1, 2)
        queries, passages = self.store.queries(rows[:, 0]), self.store.passages(rows[:, 1])
        items: list[dict[str, Any]] = [
            {"query": query, "passage": passage}
            for query, passage in zip(queries, passages, strict=True)
        ]
        negatives = [
            self._negatives(int(passage_row), index // self._num_rows**2)
            for index, passage_row in zip(indices, rows[:, 1], strict=True)
        ]
        texts = iter(self.store.passage_texts(np.concatenate([[], *negatives]).astype(np.int64)))
        for item, of_item, (query_row, passage_row) in zip(items, negatives, rows, strict=True):
            for number in range(1, len(of_item) + 1):
                item[f"negative_{number}"] = next(texts)
            if self._ids:
                item["ids"] = self._clusters(int(query_row), int(passage_row), of_item)
        return items

    def _negatives(self, passage_row: int, first: int) -> np.ndarray:
        """Passage numbers of a row's hard negatives, cyclically from position `first`."""
        if not self.hard_negatives:
            return np.empty(0, np.int64)
        start, end = self.store.index.negative_starts[passage_row : passage_row + 2]
        listed = self.store.index.negatives[start:end]
        count = min(self.hard_negatives, len(listed))
        return listed[(first + np.arange(count)) % max(len(listed), 1)]

    def _clusters(self, query_row: int, passage_row: int, negatives: np.ndarray) -> list[list[int]]:
        """Passage cluster and query cluster of the pair and of its hard negatives [1 + n, 2]."""
        index = self.store.index
        pair = [
            int(index.uid_passage_cluster[index.row_uid[passage_row]]),
            int(index.uid_query_cluster[index.row_uid[query_row]]),
        ]
        return [pair, *([int(index.passage_cluster[n]), NO_CLUSTER] for n in negatives)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the store's folder, not its files: a spawned DataLoader worker opens it again."""
        if not self.store.folder.is_dir():
            raise UserError(
                "this dataset cannot be sent to another process: its store was built from pair "
                "files in a temporary folder; write one with `hybrid-dist prepare` and open that"
            )
        return _reopened, (self.store.folder, self.hard_negatives, self._ids)

    def to_hugging_face(self) -> "HuggingFacePairs":
        """This dataset as a `datasets.Dataset`, which sentence-transformers' trainer requires."""
        if self.fewest_negatives < self.hard_negatives:
            raise UserError(
                f"hard_negatives: {self.hard_negatives} for every pair, but some pairs of "
                f"{self.store.folder} have {self.fewest_negatives}; sentence-transformers needs as "
                f"many for all: choose {self.fewest_negatives} or less"
            )
        from hybrid_dist.data.hugging_face import HuggingFacePairs  # imports datasets: on use

        return HuggingFacePairs(self)


def _reopened(folder: Path, hard_negatives: int, ids: bool) -> PairDataset:
    from hybrid_dist.data.store.reader import Store

    return PairDataset(Store(folder), hard_negatives, ids)
