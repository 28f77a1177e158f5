"""Which ranks hold which queries, passages and hard negatives, and which are false negatives.

Ids are set by training/feed.py, or gathered for other training loops (gathered_layout.py);
`mask_padding_and_false_negatives` in masking.py applies them.

Shapes:
    W  ranks
    B  queries on this rank, each with its positive passage
    G  queries on all ranks: the global batch size
    H  hard negatives on all ranks
    C  candidates on all ranks: G + H
    N  columns of the logits: candidates of all ranks, each rank padded to the largest count
    K  columns of ids
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

NO_ID = -1
"""The id of a hard negative that is not known to be a positive of any query."""
PADDING_ID = -2
"""The id of a padding column. Ids of queries are never negative, so neither matches one."""


@dataclass(frozen=True)
class BatchLayout:
    """The global batch in rank order, and which part of it is on this rank."""

    rank: int
    query_counts: tuple[int, ...]
    """Queries on each rank [W]; each rank has as many positive passages, in the same order."""
    ids: Tensor | None
    """Non-negative integers [G, K] of the pairs of all ranks. Two pairs whose ids agree in any
    column are not negatives of each other. The trainer has two columns: the cluster of the passage
    and that of the query. None: no false negatives are masked."""
    negative_counts: tuple[int, ...] = ()
    """Hard negatives on each rank [W], for the queries of all ranks; empty means none. A rank's
    hard negatives come after its positive passages."""
    negative_ids: Tensor | None = None
    """Ids of all hard negatives [H, K], or NO_ID. A hard negative is not a negative of a query
    with which it shares an id. None: no hard negative is masked."""
    columns: "ColumnLayout | None" = None
    """The columns of this rank's logits, if they are known already."""
    columns_of_queries: "ColumnLayout | None" = None
    """The same of the logits of queries against queries."""

    @property
    def global_batch_size(self) -> int:
        return sum(self.query_counts)

    @property
    def local_slice(self) -> slice:
        """The queries of this rank among those of all ranks."""
        start = sum(self.query_counts[: self.rank])
        return slice(start, start + self.query_counts[self.rank])

    @property
    def candidate_counts(self) -> tuple[int, ...]:
        """Candidates on each rank [W]: its positive passages and its hard negatives."""
        negatives = self.negative_counts or (0,) * len(self.query_counts)
        return tuple(n + m for n, m in zip(self.query_counts, negatives, strict=True))

    def candidate_ids(self) -> Tensor | None:
        """Ids of all candidates [C, K], in the order in which ranks hold them."""
        if self.ids is None or not any(self.negative_counts):
            return self.ids
        if self.negative_ids is None:
            negative_ids = self.ids.new_full((sum(self.negative_counts), self.ids.shape[1]), NO_ID)
        else:
            negative_ids = self.negative_ids
        by_rank = zip(
            self.ids.split(list(self.query_counts)),
            negative_ids.split(list(self.negative_counts)),
            strict=True,
        )
        return torch.cat([part for parts in by_rank for part in parts])

    def candidate_columns(self) -> "ColumnLayout":
        """The columns of this rank's query-to-passage logits.

        With ids on a GPU the host waits for them, unless `with_columns` was called before.
        """
        if self.columns is not None:
            return self.columns
        row_ids = None if self.ids is None else self.ids[self.local_slice]
        columns = ColumnLayout.of(self.rank, self.candidate_counts, row_ids, self.candidate_ids())
        return replace(columns, is_passage=self.passage_columns())

    def query_columns(self) -> "ColumnLayout":
        """The columns of this rank's logits of queries against the queries of all ranks: the
        target of a row is the row itself."""
        if self.columns_of_queries is not None:
            return self.columns_of_queries
        row_ids = None if self.ids is None else self.ids[self.local_slice]
        return ColumnLayout.of(self.rank, self.query_counts, row_ids, self.ids)

    def with_columns(self, of_queries: bool = False) -> "BatchLayout":
        """The same layout with its columns worked out now, and without ids: for ids on the host,
        before anything is copied to a GPU. `of_queries`: those against queries as well."""
        return replace(
            self,
            ids=None,
            negative_ids=None,
            columns=self.candidate_columns(),
            columns_of_queries=self.query_columns() if of_queries else None,
        )

    def pinned(self) -> "BatchLayout":
        """The same with its columns in pinned memory."""
        return self._mapped(lambda columns: columns.pinned())

    def to(self, device: torch.device) -> "BatchLayout":
        """The same with its columns on a device. The host does not wait for pinned ones."""
        return self._mapped(lambda columns: columns.to(device))

    def _mapped(self, change: Callable[["ColumnLayout"], "ColumnLayout"]) -> "BatchLayout":
        columns, of_queries = (
            None if part is None else change(part)
            for part in (self.columns, self.columns_of_queries)
        )
        return replace(self, columns=columns, columns_of_queries=of_queries)

    def passage_columns(self) -> Tensor:
        """Which columns of the logits [N] are positive passages."""
        position = torch.arange(max(self.candidate_counts))
        return (position < torch.tensor(self.query_counts)[:, None]).flatten()


@dataclass(frozen=True)
class ColumnLayout:
    """What the columns [N] of one rank's logits [B, N] are: targets, padding, false negatives."""

    first_target: int
    """The target of row i is column `first_target + i`."""
    is_padding: Tensor | None
    """Columns that pad a rank to the largest count [N]; None if no rank needs padding."""
    ids: Tensor | None = None
    """Ids of the columns [N, K]. None: no row of this rank has a false negative."""
    row_ids: Tensor | None = None
    """Ids of this rank's rows [B, K]."""
    affected: Tensor | None = None
    """Rows of this rank that share an id with a column other than their target [A], ascending."""
    affected_on_host: np.ndarray | None = None
    """The same on the host."""
    is_passage: Tensor | None = None
    """Columns that are positive passages [N]."""

    @classmethod
    def of(
        cls, rank: int, counts: tuple[int, ...], row_ids: Tensor | None, ids: Tensor | None
    ) -> "ColumnLayout":
        """From the columns of each rank [W], the ids of this rank's rows [B, K] and those of all
        columns without padding [sum(counts), K]."""
        largest = max(counts)
        first_target, is_padding = rank * largest, None
        if min(counts) < largest:
            is_padding = (torch.arange(largest) >= torch.tensor(counts)[:, None]).flatten()
        if ids is None or row_ids is None:
            return cls(first_target, is_padding)
        if is_padding is not None:
            padded = ids.new_full((len(is_padding), ids.shape[1]), PADDING_ID)
            padded[~is_padding] = ids
            ids = padded
        affected = _share_an_id(row_ids, ids).nonzero().flatten()
        if not len(affected):
            return cls(first_target, is_padding)
        return cls(first_target, is_padding, ids, row_ids, affected, affected.cpu().numpy())

    def affected_in(self, block: slice) -> Tensor | None:
        """Rows of a block with false negatives, counted from its first; None if there are none."""
        if self.affected is None or self.affected_on_host is None:
            return None
        low, high = np.searchsorted(self.affected_on_host, [block.start, block.stop]).tolist()
        return self.affected[low:high] - block.start if high > low else None

    def pinned(self) -> "ColumnLayout":
        """The same in pinned memory."""
        return self._mapped(lambda part: part.pin_memory())

    def to(self, device: torch.device) -> "ColumnLayout":
        """The same on a device. The host does not wait for what is pinned."""
        return self._mapped(lambda part: part.to(device, non_blocking=True))

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "ColumnLayout":
        names = ("is_padding", "ids", "row_ids", "affected", "is_passage")
        tensors = {name: getattr(self, name) for name in names}
        changed: dict[str, Any] = {
            name: change(part) for name, part in tensors.items() if part is not None
        }
        return replace(self, **changed)


def _share_an_id(row_ids: Tensor, ids: Tensor) -> Tensor:
    """Which rows [B] find one of their ids more than once, so not only in their target."""
    shared = torch.zeros(len(row_ids), dtype=torch.bool, device=row_ids.device)
    for of_rows, of_columns in zip(row_ids.T, ids.T, strict=True):
        values, wanted = of_columns.sort().values, of_rows.contiguous()
        after_first = torch.searchsorted(values, wanted) + 1
        shared |= torch.searchsorted(values, wanted, right=True) > after_first
    return shared
