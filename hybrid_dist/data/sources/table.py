"""Tables of any columns, and published layouts that are tables of known columns."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources.pairs import collection_of_pairs
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.tables.known_layouts import LAYOUTS, Layout
from hybrid_dist.data.tables.mapped_tables import table_blocks
from hybrid_dist.data.tables.mapping import OPTIONS
from hybrid_dist.data.tables.table_files import expand


def locate(path: str) -> object:
    """The files and folders that a path or a glob names."""
    return list(expand([path]))


def _source(name: str, summary: str, columns: str, layout: Layout | None = None) -> Source:
    def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
        return table_blocks(paths, reading, layout)

    def collection(paths: Sequence[str], reading: Reading) -> Collection:
        return collection_of_pairs(pairs(paths, reading), paths, reading)

    return Source(
        name, summary, columns, pairs, collection, OPTIONS, locate=locate, evaluates_on_pairs=True
    )


SOURCE = _source(
    "table",
    "any table: JSON lines, Parquet, CSV, TSV or Arrow, by the columns that options name",
    "those that you name",
)
LAYOUT_SOURCES = tuple(_source(one.name, one.summary, one.columns, one) for one in LAYOUTS)
"""Tables whose columns are known; they have the same options."""
