"""InfoNCE as its definition: all logits at once, in one process. The streamed one equals it.

Shapes: G queries, C candidates (the G positive passages, then hard negatives), D width, K ids.
"""

import torch
from torch import Tensor
from torch.nn import functional


def reference_info_nce(
    queries: Tensor,
    candidates: Tensor,
    temperature: Tensor | float,
    ids: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """Loss of each query [G], given queries [G, D] and candidates [C, D]; their mean is the loss.

    The target of query i is candidate i. Symmetric: the mean of the loss of finding its passage
    among all candidates and of finding the passage's query among all queries.
    """
    size = len(queries)
    targets = torch.arange(size, device=queries.device)
    logits = queries @ candidates.T / temperature
    if ids is not None:
        logits = logits.masked_fill(false_negatives(ids, size), float("-inf"))
    losses = functional.cross_entropy(logits, targets, reduction="none")
    if symmetric:
        backward = functional.cross_entropy(logits[:, :size].T, targets, reduction="none")
        losses = (losses + backward) / 2
    return losses


def false_negatives(ids: Tensor, size: int) -> Tensor:
    """Candidates that share an id with a query and are not its target [G, C], given the ids of
    all candidates [C, K]; those of the first `size` are the queries' as well."""
    shared = (ids[:size, None] == ids).any(-1)
    return shared & ~torch.eye(size, len(ids), dtype=torch.bool, device=ids.device)
