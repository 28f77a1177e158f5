"""Pairs as Parquet: sentence-transformers' columns, and those of our own pair files."""

from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.data.export.exported_pairs import Block
from hybrid_dist.data.reading import PAIRS, SCORED_PAIRS

Columns = Iterable[list[Any]]
"""The values of some rows, column by column."""


def tuples_schema(negatives: int, scored: bool) -> pa.Schema:
    """sentence-transformers' columns, whose order is that of a loss's arguments."""
    names = ["negative"] if negatives == 1 else [f"negative_{n + 1}" for n in range(negatives)]
    fields = [(name, pa.string()) for name in ("anchor", "positive", *names)]
    return pa.schema([*fields, *([("scores", pa.list_(pa.float32()))] if scored else [])])


def tuples(block: Block, negatives: int) -> Iterator[list[Any]]:
    """The pairs that have so many negatives, with the first of them."""
    kept = [place for place, some in enumerate(block.negatives) if len(some) >= negatives]
    yield [block.queries[place] for place in kept]
    yield [block.passages[place] for place in kept]
    for number in range(negatives):
        yield [block.negatives[place][number] for place in kept]
    if block.positive_scores is not None and block.negative_scores is not None:
        yield [
            [block.positive_scores[place], *block.negative_scores[place][:negatives]]
            for place in kept
        ]


def pairs_schema(scored: bool) -> pa.Schema:
    """The columns of pair files, and of scores."""
    schema = SCORED_PAIRS if scored else PAIRS
    return schema.remove(schema.get_field_index("place"))


def pairs(block: Block) -> Iterator[list[Any]]:
    yield block.uids
    yield [block.language] * len(block.uids)
    yield block.queries
    yield block.passages
    yield block.negatives
    if block.positive_scores is not None and block.negative_scores is not None:
        yield block.positive_scores
        yield block.negative_scores


def write(file: IO[bytes], schema: pa.Schema, blocks: Iterable[Columns]) -> int:
    """Write a table block by block; returns the number of its rows."""
    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as out:
        for columns in blocks:
            arrays = [
                pa.array(values, column.type)
                for values, column in zip(columns, schema, strict=True)
            ]
            table = pa.Table.from_arrays(arrays, schema=schema)
            rows += len(table)
            out.write_table(table)
    return rows
