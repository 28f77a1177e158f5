"""Pairs as one table in memory, for what is small enough: evaluation tasks."""

from collections.abc import Sequence

import pyarrow as pa

from hybrid_dist.data.blocks import expand as expand
from hybrid_dist.data.store import Store


def read_pairs(patterns: Sequence[str]) -> pa.Table:
    """All pairs of the files, sorted by language and uid; a pair given twice is kept once."""
    return Store.open(patterns).table()
