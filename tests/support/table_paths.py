"""What becomes of a batch of a table column by column, and row by row."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.collecting import blocks
from hybrid_dist.data.tables.mapped_columns import Rows, map_columns
from hybrid_dist.data.tables.mapped_pairs import Tally, pairs_of_rows
from hybrid_dist.data.tables.mapping import TableMapping
from hybrid_dist.data.tables.table_files import TableFile
from hybrid_dist.data.tables.table_rows import is_valid, rows_of

SOURCE = TableFile(Path("a.parquet"), "a.parquet")


def by_columns_and_by_rows(
    mapping: TableMapping, batch: pa.RecordBatch, first: int
) -> tuple[Any, Any]:
    """Pairs, how many rows conditions left out, renamed languages, and bad rows, of both ways.

    The first is None if the columns are left to the rows.
    """
    one, other, tally = Reading(), Reading(skip_bad=len(batch)), Tally()
    place = one.place(SOURCE.file, first)
    given = Rows(SOURCE.name, first, place, batch)
    mapped = map_columns(mapping, given) if is_valid(SOURCE.file, batch) else None
    rows = rows_of(other, SOURCE.file, batch, first)
    found = list(blocks(pairs_of_rows(mapping, rows, other, SOURCE, tally)))
    pairs = [pair for block in found for pair in block.to_pylist()]
    by_rows = pairs, tally.left_out, list(other.named.items()), other.bad
    if mapped is None:
        return None, by_rows
    mapped.pairs.validate(full=True)
    renamed = list(mapped.renamed.items())
    return (mapped.pairs.to_pylist(), mapped.left_out, renamed, one.bad), by_rows
