"""Tables of any columns: JSON lines, Parquet, CSV, TSV or Arrow, with a mapping of columns."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources.collecting import blocks
from hybrid_dist.data.sources.pairs import collection_of_pairs
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.tables.mapped_pairs import table_pairs
from hybrid_dist.data.tables.mapping import OPTIONS
from hybrid_dist.data.tables.table_files import expand


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every row's pair, or pairs."""
    return blocks(table_pairs(paths, reading))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """The queries and passages of all pairs."""
    return collection_of_pairs(pairs(paths, reading), paths, reading)


def locate(path: str) -> object:
    """The files and folders that a path or a glob names."""
    return list(expand([path]))


SOURCE = Source(
    "table",
    "any table: JSON lines, Parquet, CSV, TSV or Arrow, by the columns that options name",
    pairs,
    collection,
    OPTIONS,
    locate=locate,
    evaluates_on_pairs=True,
)
