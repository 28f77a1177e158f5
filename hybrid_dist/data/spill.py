"""Batches put aside on disk under keys, in the order they come, and read back key by key."""

import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

WINDOW = 16
"""Batches of one mapping: it goes with them, so that what was read takes no memory."""


class Spill:
    """One file of batches, mapped when they are read. It goes with this object, or on `remove`."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self._file, self._schema = file, schema
        self._batches: defaultdict[object, list[int]] = defaultdict(list)
        self._written = 0
        self.rows: defaultdict[object, int] = defaultdict(int)
        self.bytes: defaultdict[object, int] = defaultdict(int)
        self._sink = pa.OSFile(str(file), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)
        self.remove = weakref.finalize(self, file.unlink, missing_ok=True)

    def put(self, key: object, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self._batches[key].append(self._written)
        self._written += 1
        self.rows[key] += len(batch)
        self.bytes[key] += batch.nbytes

    def finish(self) -> None:
        """No more is put aside from here on, and reading may begin, in any thread."""
        self._writer.close()
        self._sink.close()

    def read(self, key: object, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The batches of a key, with some of the columns or all."""
        fields = None if columns is None else [self._schema.get_field_index(c) for c in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        numbers = self._batches[key]
        for first in range(0, len(numbers), WINDOW):
            reader = pa.ipc.open_file(pa.memory_map(str(self._file)), options=options)
            for number in numbers[first : first + WINDOW]:
                yield reader.get_batch(number)
