"""Writing training pairs without those that contain evaluated texts."""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.store.builder import NoPairsError
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.stored_pairs import stored_pairs
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import atomic_file, made_parents

FILE_SUFFIXES = (".jsonl", ".jsonl.gz")
"""Of outputs that are pair files; any other output is a store."""


def write_without(
    store: Store, uids: set[str], out: Path, source: str, tasks: Sequence[str]
) -> int:
    """Write the pairs of a store without those of `uids`; returns how many were written.

    `source` and `tasks` name what was read, for the manifest of a store.
    """
    pairs = _without(stored_pairs(store), uids)
    size = sum(file["bytes"] for file in store.manifest["files"].values())
    if out.name.endswith(FILE_SUFFIXES):
        return _write_file(pairs, out, size)
    provenance: dict[str, object] = {"source": "overlap", "paths": [source], "without": list(tasks)}
    return _write_store(pairs, out, provenance, size)


def _without(pairs: Iterable[pa.RecordBatch], uids: set[str]) -> Iterator[pa.RecordBatch]:
    dropped = pa.array(sorted(uids), pa.string())
    for block in pairs:
        yield block.filter(pc.invert(pc.is_in(block.column("uid"), value_set=dropped)))


def _write_store(
    pairs: Iterable[pa.RecordBatch], out: Path, provenance: dict[str, object], size: int
) -> int:
    """Write pairs as a store. `size`: approximate bytes of all pairs."""
    try:
        return Store.build(pairs, out, needed=size, annotate=lambda _: provenance).index.num_rows
    except NoPairsError:
        raise UserError(f"--drop {out}: no pair would be left") from None


def _write_file(pairs: Iterable[pa.RecordBatch], out: Path, size: int) -> int:
    """Write pairs as a pair file. `size`: approximate bytes of all pairs."""
    if out.exists():
        raise UserError(f"--drop {out}: exists already; name a new file")
    compressed = out.suffix == ".gz"
    with made_parents(out), atomic_file(out, needed=size // 4 if compressed else size) as file:
        if compressed:
            with gzip.GzipFile(out.stem, "wb", 6, file) as lines:
                return _write_lines(pairs, lines)
        return _write_lines(pairs, file)


def _write_lines(pairs: Iterable[pa.RecordBatch], lines: IO[bytes] | gzip.GzipFile) -> int:
    count = 0
    for block in pairs:
        for row in block.drop_columns(["place"]).to_pylist():
            lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count
