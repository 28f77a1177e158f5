"""The texts of a column on disk as a sequence, read on access."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from hybrid_dist.data.store.columns import ROWS, TextColumn


class StoredTexts(Sequence[str]):
    """Any number of texts; none is read before it is asked for."""

    def __init__(self, column: TextColumn) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: Any) -> Any:
        numbers = range(len(self))[index]
        if isinstance(index, slice):
            return self._column.take(np.arange(numbers.start, numbers.stop, numbers.step))
        return self._column.take(np.array([numbers]))[0]

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), ROWS):
            yield from self[first : first + ROWS]
