"""The layout of a global batch, gathered from what each rank holds, for loops that have no plan."""

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_dist.losses.batch_layout import NO_ID, BatchLayout
from hybrid_dist.losses.streamed import all_gather_rows


def gather_layout(
    num_queries: int,
    num_negatives: int,
    ids: Tensor | None,
    device: torch.device,
    group: dist.ProcessGroup | None,
    must_agree: dict[str, int],
) -> BatchLayout:
    """The layout of the batch over the ranks of a process group, on every rank.

    A single process where torch.distributed is not initialized. `ids` [B or B + M, K] are those of
    the pairs, and of the hard negatives if they have any; any integers will do. `must_agree` holds
    what has to be the same on all ranks, by name: ranks that went on would wait for each other.
    """
    rank, world = 0, 1
    if dist.is_available() and dist.is_initialized():
        rank, world = dist.get_rank(group), dist.get_world_size(group)
    if rank < 0:
        raise ValueError("this process is not a member of the process group of the loss")
    must_agree = must_agree | {"columns of ids": 0 if ids is None else ids.shape[1]}
    num_ids = 0 if ids is None else len(ids)
    local = torch.tensor(
        [[num_queries, num_negatives, num_ids, *must_agree.values()]], device=device
    )
    by_rank = all_gather_rows(local, (1,) * world, group).tolist()
    _check_agreement(must_agree, [values[3:] for values in by_rank])
    query_counts, negative_counts, id_counts = (
        tuple(values[i] for values in by_rank) for i in range(3)
    )
    if not sum(query_counts):
        raise ValueError("there are no queries on any rank")
    if ids is None:
        return BatchLayout(rank, query_counts, None, negative_counts)
    padded = all_gather_rows(ids, id_counts, group).split(max(id_counts))
    all_ids = torch.cat([part[:n] for part, n in zip(padded, id_counts, strict=True)])
    pair_ids, negative_ids = [], []
    parts = _renumbered(all_ids).split(list(id_counts))
    for part, size, negatives in zip(parts, query_counts, negative_counts, strict=True):
        pair_ids.append(part[:size])
        given = part[size:]
        negative_ids.append(
            given if len(given) else part.new_full((negatives, ids.shape[1]), NO_ID)
        )
    return BatchLayout(
        rank, query_counts, torch.cat(pair_ids), negative_counts, torch.cat(negative_ids)
    )


def _check_agreement(names: dict[str, int], by_rank: list[list[int]]) -> None:
    """Raise on all ranks if they differ in anything that they must agree on."""
    for values in by_rank:
        for name, first, other in zip(names, by_rank[0], values, strict=True):
            if first != other:
                raise ValueError(
                    f"ranks must agree on {name}: {first} on rank 0 of the group, {other} on "
                    f"rank {by_rank.index(values)}"
                )


def _renumbered(ids: Tensor) -> Tensor:
    """Ids [rows, K] with the values of each column replaced by 0, 1, ...: never negative."""
    columns = [column.unique(return_inverse=True)[1] for column in ids.T]
    return torch.stack(columns, dim=1)
