"""Which ranks hold which queries, passages and hard negatives, and which are false negatives.

Shapes:
    W  ranks
    B  queries on this rank, each with its positive passage
    G  queries on all ranks: the global batch size
    H  hard negatives on all ranks
    C  candidates on all ranks: G + H
    N  columns of the logits: candidates of all ranks, each rank padded to the largest count
    K  columns of ids
"""

from dataclasses import dataclass

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
        """The columns of this rank's query-to-passage logits."""
        row_ids = None if self.ids is None else self.ids[self.local_slice]
        return ColumnLayout.of(self.rank, self.candidate_counts, row_ids, self.candidate_ids())

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
    has_false_negatives: Tensor | None = None
    """Rows that share an id with a column other than their target [B]."""

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
        shared = _share_an_id(row_ids, ids)
        if not shared.any():
            return cls(first_target, is_padding)
        return cls(first_target, is_padding, ids, row_ids, shared)


def _share_an_id(row_ids: Tensor, ids: Tensor) -> Tensor:
    """Which rows [B] find one of their ids more than once, so not only in their target."""
    shared = torch.zeros(len(row_ids), dtype=torch.bool, device=row_ids.device)
    for of_rows, of_columns in zip(row_ids.T, ids.T, strict=True):
        values, occurrences = of_columns.unique(return_counts=True)
        shared |= occurrences[torch.searchsorted(values, of_rows.contiguous())] > 1
    return shared
