"""Pairs of a store as a `datasets.Dataset`: nothing is copied, texts are read when indexed."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import datasets
import pyarrow as pa
from datasets.table import InMemoryTable

from hybrid_dist.data.pair_dataset import PairDataset


class HuggingFacePairs(datasets.Dataset):  # type: ignore[misc]
    """A PairDataset where a library takes nothing but a `datasets.Dataset`.

    The base class holds an empty table with the names of the columns. Indices are those of the
    PairDataset, so that its batch samplers apply.
    """

    def __init__(self, pairs: PairDataset, columns: Sequence[str] | None = None) -> None:
        negatives = [f"negative_{number}" for number in range(1, pairs.hard_negatives + 1)]
        names = columns or ["query", "passage", *negatives]
        empty = pa.table({name: pa.array([], pa.string()) for name in names})
        super().__init__(InMemoryTable(empty), fingerprint=pairs.store.fingerprint)
        self.pairs = pairs

    @property
    def num_rows(self) -> int:
        return len(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[dict[str, str]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        """A row for an integer; columns for a slice or a list of integers."""
        if isinstance(key, str):
            return super().__getitem__(key)
        if isinstance(key, int):
            return self.__getitems__([key])[0]
        rows = self.__getitems__(range(len(self))[key] if isinstance(key, slice) else key)
        return {name: [row[name] for row in rows] for name in self.column_names}

    def __getitems__(self, keys: Iterable[int]) -> list[dict[str, str]]:
        items = self.pairs.__getitems__([int(key) for key in keys])
        return [{name: item[name] for name in self.column_names} for item in items]

    def select(self, indices: Iterable[int], *args: Any, **kwargs: Any) -> datasets.Dataset:
        """Some pairs as an ordinary dataset, with their texts in memory."""
        return datasets.Dataset.from_dict(self[list(indices)])

    def select_columns(
        self, column_names: str | list[str], *args: Any, **kwargs: Any
    ) -> "HuggingFacePairs":
        names = [column_names] if isinstance(column_names, str) else column_names
        return HuggingFacePairs(self.pairs, names)

    def __reduce__(self) -> tuple[Any, ...]:
        return HuggingFacePairs, (self.pairs, self.column_names)
