"""Any number of texts by position: in memory if they are few, otherwise mapped from a file."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.reading import Text
from hybrid_dist.runtime.files import OTHER_TMPDIR, writing

SCHEMA = pa.schema([("id", pa.string()), ("lang", pa.string()), ("text", pa.string())])
BLOCK = 4096
IN_MEMORY = 256 << 20
"""Bytes of texts kept in memory; beyond that they go to a temporary file."""


class Texts(Sequence[Text]):
    """Queries or passages; reordering them takes eight bytes a text."""

    def __init__(self, batches: Sequence[pa.RecordBatch], order: np.ndarray | None = None) -> None:
        self._batches = batches
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        self._order = np.arange(self._starts[-1]) if order is None else order

    @classmethod
    def of(cls, texts: Iterable[Text]) -> "Texts":
        """Collect a stream of texts."""
        given = iter(texts)
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in _blocks(given):
            held.append(batch)
            size += batch.nbytes
            if size > IN_MEMORY:
                return cls(on_disk(chain(held, _blocks(given))))
        return cls(held)

    def take(self, rows: np.ndarray) -> "Texts":
        """The texts at `rows`, in that order."""
        return Texts(self._batches, self._order[rows])

    def column(self, name: str) -> pa.ChunkedArray:
        """One field of all texts: `id`, `lang` or `text`."""
        whole = pa.chunked_array([batch.column(name) for batch in self._batches], pa.string())
        return pc.take(whole, pa.array(self._order))

    def values(self, name: str, rows: slice) -> pa.Array:
        """One field of consecutive texts, taken block by block."""
        places = self._order[rows]
        block = np.searchsorted(self._starts, places, side="right") - 1
        by_block = np.argsort(block, kind="stable")
        if not len(places):
            return pa.array([], pa.string())
        parts = []
        for group in np.split(by_block, np.flatnonzero(np.diff(block[by_block])) + 1):
            number = int(block[group[0]])
            column = self._batches[number].column(name)
            parts.append(column.take(pa.array(places[group] - self._starts[number])))
        back = np.empty(len(places), np.int64)
        back[by_block] = np.arange(len(places))
        return pa.concat_arrays(parts).take(pa.array(back))

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Text: ...
    @overload
    def __getitem__(self, index: slice) -> list[Text]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._text(row) for row in self._order[index].tolist()]
        return self._text(int(self._order[index]))

    def __iter__(self) -> Iterator[Text]:
        return map(self._text, self._order.tolist())

    def _text(self, row: int) -> Text:
        block = int(np.searchsorted(self._starts, row, side="right")) - 1
        batch, place = self._batches[block], row - int(self._starts[block])
        return Text(*(column[place].as_py() for column in batch.columns))


class Part(Sequence[str]):
    """One field of texts, read on access."""

    def __init__(self, texts: Texts, name: str) -> None:
        self._texts, self._name = texts, name
        self._field = Text._fields.index(name)

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._texts.values(self._name, index).to_pylist()
        return self._texts[index][self._field]


class Reversed(Sequence[str]):
    """Texts in reverse order, read on access."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: Any) -> Any:
        last = len(self._texts) - 1
        if isinstance(index, slice):
            return [self._texts[last - row] for row in range(*index.indices(len(self._texts)))]
        return self._texts[last - range(len(self._texts))[index]]


def _blocks(texts: Iterator[Text]) -> Iterator[pa.RecordBatch]:
    while block := list(islice(texts, BLOCK)):
        arrays = [pa.array(values, pa.string()) for values in zip(*block, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def on_disk(blocks: Iterable[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The same blocks, mapped from a temporary file that is already unlinked."""
    blocks = iter(blocks)
    first = next(blocks, None)
    if first is None:
        return []
    with (
        tempfile.NamedTemporaryFile(prefix="hybrid_dist-texts-", suffix=".arrow") as made,
        writing(Path(made.name).parent, Path(made.name), cure=OTHER_TMPDIR),
    ):
        with pa.OSFile(made.name, "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
            for batch in chain([first], blocks):
                writer.write_batch(batch)
        file = pa.ipc.open_file(pa.memory_map(made.name))
        return [file.get_batch(number) for number in range(file.num_record_batches)]
