"""Pairs in a short notation, and the store of them."""

from collections.abc import Sequence

import pyarrow as pa

from hybrid_dist.data.reading import PAIRS
from hybrid_dist.data.store.reader import Store

Row = tuple[str, str, str, str]
"""Language, uid, query, passage."""


def pair_blocks(
    rows: Sequence[Row], negatives: Sequence[Sequence[str]] | None = None
) -> list[pa.RecordBatch]:
    """Rows as sources stream them, in one block."""
    langs, uids, queries, passages = map(list, zip(*rows, strict=True))
    places = list(range(len(rows)))
    columns = [uids, langs, queries, passages, negatives or [[]] * len(rows), places]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, PAIRS, strict=True)]
    return [pa.RecordBatch.from_arrays(arrays, schema=PAIRS)]


def store_of(rows: Sequence[Row], negatives: Sequence[Sequence[str]] | None = None) -> Store:
    """The store of rows in any order."""
    return Store.build(pair_blocks(rows, negatives))
