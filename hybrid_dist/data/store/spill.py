"""Batches spilled to disk under keys, in order, and read back key by key."""

import shutil
import weakref
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

FILES = 64
"""The maximum number of open files; up to this number of keys, each has its own file."""
WINDOW = 16
"""Batches per memory mapping: it is released with them, so batches already read take no memory."""


class Spill:
    """A folder of batches, memory-mapped on reading; it is removed with this object."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir()
        self._folder, self.schema = folder, schema
        self._files: list[_File] = []
        self._file_of: dict[Hashable, _File] = {}
        self.bytes: defaultdict[Hashable, int] = defaultdict(int)
        self.remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def put(self, key: Hashable, batch: pa.RecordBatch) -> None:
        if key not in self._file_of:
            self._file_of[key] = self._next_file()
            self._file_of[key].batches[key] = []
        self._file_of[key].put(key, batch)
        self.bytes[key] += batch.nbytes

    def _next_file(self) -> "_File":
        number = len(self._file_of)
        if number < FILES:
            self._files.append(_File(self._folder / f"{number}.arrow", self.schema))
        return self._files[number % FILES]

    def finish(self) -> None:
        """End writing; reading may begin, in any thread."""
        for file in self._files:
            file.close()

    def read(self, key: Hashable, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The batches of a key, with all columns or some."""
        fields = None if columns is None else [self.schema.get_field_index(c) for c in columns]
        return self._file_of[key].read(key, fields)

    def drop(self, key: Hashable) -> None:
        """Free the disk space of a key that is not read again."""
        file = self._file_of.pop(key)
        del file.batches[key]
        if not file.batches:
            file.path.unlink()


class _File:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.batches: dict[Hashable, list[int]] = {}
        self._written = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)

    def put(self, key: Hashable, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self.batches[key].append(self._written)
        self._written += 1

    def close(self) -> None:
        self._writer.close()
        self._sink.close()

    def read(self, key: Hashable, fields: list[int] | None) -> Iterator[pa.RecordBatch]:
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        numbers = self.batches[key]
        for first in range(0, len(numbers), WINDOW):
            reader = pa.ipc.open_file(pa.memory_map(str(self.path)), options=options)
            for number in numbers[first : first + WINDOW]:
                yield reader.get_batch(number)
