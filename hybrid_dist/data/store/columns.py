"""Columns on disk, written as a stream and memory-mapped: texts as Arrow files, numbers as .npy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

SHIFT = 14
ROWS = 1 << SHIFT
"""Rows of every batch but the last, so a row's batch is known without a search."""
HEADER = 128
PIECE = 4 << 20
"""Bytes that are read at once."""


class TextWriter:
    """Writes a file of texts and, if `hashed`, of their hashes."""

    def __init__(self, file: Path, hashed: bool = False) -> None:
        fields = [("text", pa.large_string()), *([("hash", pa.uint64())] if hashed else [])]
        self._schema = pa.schema(fields)
        self._sink = pa.OSFile(str(file), "wb")
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        self._held: list[pa.RecordBatch] = []
        self.num_rows = 0

    def append(self, texts: pa.Array, *hashes: np.ndarray) -> None:
        arrays = [texts.cast(pa.large_string()), *map(pa.array, hashes)]
        given = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        start = min(-self.num_rows % ROWS, len(given))
        self.num_rows += len(given)
        self._hold(given.slice(0, start))
        while len(given) - start >= ROWS:
            self._writer.write_batch(given.slice(start, ROWS))
            start += ROWS
        self._hold(given.slice(start))

    def _hold(self, rows: pa.RecordBatch) -> None:
        """Hold rows until a batch is full; copied, since `rows` may be a slice of a large block."""
        self._held.append(rows.take(pa.array(np.arange(len(rows)))))
        if sum(map(len, self._held)) == ROWS:
            self._write_held()

    def _write_held(self) -> None:
        for batch in pa.Table.from_batches(self._held, self._schema).combine_chunks().to_batches():
            self._writer.write_batch(batch)
        self._held = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the held rows and the footer, unless an error has made the file useless."""
        try:
            if kind is None:
                self._write_held()
                self._writer.close()
        finally:
            self._sink.close()


class TextColumn:
    """The texts of such a file by number, read directly from mapped bytes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        mapped = pa.memory_map(str(file))
        self._reader = pa.ipc.open_file(mapped)
        self._content = content = mapped.read_buffer(mapped.size())
        self._words = np.frombuffer(content, np.int64, len(content) // 8)
        columns = [batch.column("text") for batch in self._batches()]
        self._length = sum(map(len, columns))
        places = [[buffer.address - content.address for buffer in c.buffers()[1:]] for c in columns]
        self._offsets, self._data = np.array(places, np.int64).reshape(-1, 2).T

    def __len__(self) -> int:
        return self._length

    def take(self, rows: np.ndarray) -> list[str]:
        """The texts of some rows, in the order of `rows`."""
        rows, number = np.unique(rows, return_inverse=True)
        batch = rows >> SHIFT
        at = (self._offsets[batch] >> 3) + (rows & (ROWS - 1))
        data = self._data[batch]
        # the mapped bytes as one string array: the rows' texts, and the gaps between them
        ends = np.stack([self._words[at] + data, self._words[at + 1] + data], axis=1).ravel()
        buffers = [None, pa.py_buffer(ends), self._content]
        texts = pa.Array.from_buffers(pa.large_string(), max(0, len(ends) - 1), buffers)
        # not by pa.array, which imports pandas wherever it is installed
        order = pa.Array.from_buffers(pa.int64(), len(number), [None, pa.py_buffer(2 * number)])
        return texts.take(order).to_pylist()

    def check(self) -> None:
        """Raise a ValueError if `take` could read outside the texts of this file."""
        last = self._reader.num_record_batches - 1
        with pa.OSFile(str(self._file)) as content:  # mapped pages would count as memory
            reader = pa.ipc.open_file(content)
            batches = (reader.get_batch(number) for number in range(last + 1))
            for number, batch in enumerate(batches):
                self._check(number, batch, number == last)

    def _check(self, number: int, batch: pa.RecordBatch, is_last: bool) -> None:
        texts = batch.column("text")
        if texts.type != pa.large_string() or texts.null_count:
            raise ValueError("its texts are of another type")
        if len(batch) != ROWS and not (is_last and 0 < len(batch) < ROWS):
            raise ValueError(f"batch {number} has {len(batch):,} rows instead of {ROWS:,}")
        batch.validate(full=True)
        start, data, size = self._offsets[number], self._data[number], len(self._content)
        end = start + 8 * (len(batch) + 1)
        if start % 8 or not (0 <= start < end <= size and 0 <= data <= size):
            raise ValueError(f"batch {number} is not mapped from the file")
        if data + self._words[end // 8 - 1] > size:
            raise ValueError(f"batch {number} is cut short")

    def arrays(self) -> Iterator[pa.Array]:
        """All texts, batch after batch."""
        for batch in self._batches():
            yield batch.column("text")

    def hashes(self) -> np.ndarray:
        """The hash of each text."""
        parts = [batch.column("hash").to_numpy() for batch in self._batches()]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number in range(self._reader.num_record_batches):
            yield self._reader.get_batch(number)


class ArrayWriter:
    """Writes a one-dimensional .npy file piece by piece."""

    def __init__(self, file: Path, dtype: type[np.generic] | np.dtype[Any]) -> None:
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._file = file.open("wb")
        self._file.write(bytes(HEADER))

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the header, now that the length is known."""
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._file.write(self._header())

    def _header(self) -> bytes:
        described = (
            f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': ({self.length},), }}"
        )
        magic = np.lib.format.magic(1, 0)
        room = HEADER - len(magic) - 2
        padded = described.ljust(room - 1).encode("latin-1") + b"\n"
        return magic + room.to_bytes(2, "little") + padded


def save_array(file: Path, values: np.ndarray) -> None:
    """Write a one-dimensional array as .npy.

    `np.save` does not notice a full disk if only the last 4 kB are missing.
    """
    with ArrayWriter(file, values.dtype) as out:
        out.append(values)


def load_mapped(file: Path) -> np.ndarray:
    """The memory-mapped array of a .npy file."""
    array: np.ndarray = np.load(file, mmap_mode="r")
    return array


def read_through(file: Path) -> None:
    """Read a file from start to end: the pages of its mapping are then in the machine's memory."""
    piece = bytearray(PIECE)
    with file.open("rb", buffering=0) as content:
        while content.readinto(piece):
            pass
