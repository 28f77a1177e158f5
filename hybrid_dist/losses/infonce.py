"""InfoNCE over the global batch: the queries of every rank against the candidates of every rank.

The gradient on W ranks equals that of one process with the whole batch. This takes two things: a
reduce-scatter brings the gradients of candidates from all ranks to the rank that encoded them, and
each rank's loss is W times its share of the global mean, since data parallelism averages gradients
over ranks. All collectives run in the forward pass; the backward pass only scales.

Shapes (more in batch_layout.py):
    W  ranks
    B  queries on this rank, each with its positive passage
    M  hard negatives on this rank
    D  width of a vector
    K  columns of ids
"""

import math
from dataclasses import dataclass, fields
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.gathered_layout import gather_layout
from hybrid_dist.losses.gathered_loss import Guide, LossSettings, loss_and_gradients
from hybrid_dist.losses.gradients import with_gradients
from hybrid_dist.losses.options import PLAIN, LossOptions
from hybrid_dist.tracking.stopwatch import Stopwatch


class InfoNCE(nn.Module):
    """InfoNCE with in-batch negatives from all ranks, for any training loop, DDP's included.

    Each query has to find its own passage among the passages and hard negatives of all ranks in
    `group`: the default process group if None, or this process alone where torch.distributed is not
    initialized. Ranks may hold different numbers of queries and of hard negatives, none included.
    `options` change which negatives count and how much, and add losses of shortened vectors.

    The loss of the global batch is the mean over the G queries of all W ranks. Each rank returns
    W / G times the sum of the losses of its own queries: zero on a rank without queries, which has
    to call forward and backward all the same. The mean over ranks of the returned values is the
    loss of the global batch. Backward gives each rank's vectors the gradient of W times the global
    loss, contributions of other ranks' queries included. So the mean over ranks of the gradients of
    the weights, which is what DDP computes, is the gradient of the global loss: do not scale by the
    world size again. If DDP spans several groups of equal size, it averages the groups' losses.

    Vectors are used as they are: normalize them if the logits should be cosines. The arithmetic is
    float32, or float64 for float64 vectors, also under autocast. At most 512 rows of logits are
    held at once.
    """

    def __init__(
        self,
        temperature: float = 0.05,
        options: LossOptions = PLAIN,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, not {temperature}")
        self.temperature, self.options, self.group = temperature, options, group

    def forward(
        self,
        queries: Tensor,
        passages: Tensor,
        negatives: Tensor | None = None,
        ids: Tensor | None = None,
        guide: Guide | None = None,
    ) -> Tensor:
        """The loss, a scalar, of queries [B, D] and their positive passages [B, D].

        All ranks of the group have to call it together. `negatives` [M, D] are hard negatives for
        all queries. `ids` are integers that mark false negatives: two pairs are not negatives of
        each other if their ids agree in any column. They are [B] or [B, K]; with B + M rows
        instead of B, those that follow the pairs' are the ids of the hard negatives. `guide` holds
        another model's normalized vectors of the same texts, by which `options.margin` recognizes
        false negatives instead.
        """
        _check_vectors(queries, passages, negatives)
        candidates = passages if negatives is None else torch.cat([passages, negatives])
        dtype = _dtype(queries, candidates)
        layout = gather_layout(
            len(queries),
            len(candidates) - len(queries),
            _id_columns(ids, queries, candidates),
            queries.device,
            self.group,
            must_agree={
                "the width of vectors": queries.shape[1],
                "float64 arithmetic": int(dtype == torch.float64),
                "symmetric": int(self.options.symmetric),
                "the other options (a checksum)": crc32(repr(self.options).encode()),
                "the width of a guide": 0 if guide is None else guide.queries.shape[1],
                "the need of gradients": int(_needs_gradients(queries, candidates)),
            },
        )
        temperature = torch.tensor([self.temperature], dtype=dtype, device=queries.device)
        options, group = self.options, self.group
        return info_nce(queries, candidates, temperature, layout, options, guide, group).loss

    def extra_repr(self) -> str:
        changed = [
            f", {each.name}={getattr(self.options, each.name)}"
            for each in fields(self.options)
            if getattr(self.options, each.name) != each.default
        ]
        return f"temperature={self.temperature}{''.join(changed)}"


@dataclass(frozen=True)
class LossOutput:
    """The loss of a global batch, as this rank computes it, and statistics for meters."""

    loss: Tensor
    """Call backward on this: W times this rank's share of the global mean, as gradients are
    averaged over ranks."""
    share: Tensor
    """This rank's share of the global mean: summed over ranks, the loss of the global batch."""
    width_shares: Tensor
    """The same of the loss at each width of the vectors [V], from the full one down."""
    num_correct: Tensor
    """Queries of this rank whose positive passage has the highest logit."""
    num_nonfinite: Tensor
    """Vectors of this rank that hold a number that is not finite."""
    query_losses: Tensor
    """Loss of each of this rank's queries [B]."""
    similarity_sums: Tensor
    """Similarities of this rank's queries [2]: summed over their positives, and over their
    negatives. Cosines, if the vectors are normalized."""
    num_false_negatives: Tensor
    """Candidates masked as false negatives by id and by score [2], summed over this rank's
    queries."""
    stopwatch: Stopwatch
    """Seconds of `gather`, which are the collectives, and of `loss`, which is the computation."""


def info_nce(
    queries: Tensor,
    candidates: Tensor,
    temperature: Tensor,
    layout: BatchLayout,
    options: LossOptions = PLAIN,
    guide: Guide | None = None,
    group: dist.ProcessGroup | None = None,
) -> LossOutput:
    """Cross-entropy of each query's positive passage among the candidates of all ranks.

    Takes queries [B, D], candidates [B + M, D], which are the positive passages in the order of
    the queries and then the hard negatives, and temperature [1]. With a guide, `options.margin`
    compares its cosines. The arithmetic is float32, or float64 for float64 vectors.
    """
    _check_layout(queries, candidates, layout)
    _check_guide(guide, queries, candidates)
    inputs = (queries, candidates, temperature)
    stopwatch = Stopwatch(queries.device)
    dtype = _dtype(queries, candidates)
    if guide is not None:
        guide = Guide(guide.queries.to(dtype), guide.candidates.to(dtype))
    settings = LossSettings(layout, options, guide, group, _needs_gradients(*inputs), stopwatch)
    with torch.no_grad(), torch.autocast(queries.device.type, enabled=False):
        scale = 1 / temperature.to(dtype)
        result = loss_and_gradients(queries.to(dtype), candidates.to(dtype), scale, settings)
        num_nonfinite = sum((~part.isfinite().all(1)).sum() for part in (queries, candidates))
        share = result.losses.sum() / layout.global_batch_size
        # d loss / d temperature = d loss / d scale * -scale^2
        grad_temperature = -result.grad_scale * scale * scale
    loss = share * len(layout.query_counts)
    if settings.with_gradients:
        gradients = (result.grad_queries, result.grad_candidates, grad_temperature)
        loss = with_gradients(loss, gradients, *inputs)
    full = result.full
    return LossOutput(
        loss,
        share,
        result.width_sums / layout.global_batch_size,
        full.num_correct,
        torch.as_tensor(num_nonfinite),
        result.losses,
        torch.stack([full.positive_sum, full.negative_sum]) * temperature.detach().to(dtype),
        full.num_false_negatives,
        stopwatch,
    )


def _dtype(*vectors: Tensor) -> torch.dtype:
    """What the loss is computed in."""
    double = any(part.dtype == torch.float64 for part in vectors)
    return torch.float64 if double else torch.float32


def _needs_gradients(*inputs: Tensor) -> bool:
    return torch.is_grad_enabled() and any(part.requires_grad for part in inputs)


def _check_guide(guide: Guide | None, queries: Tensor, candidates: Tensor) -> None:
    if guide is None:
        return
    given = (len(guide.queries), len(guide.candidates))
    if given != (len(queries), len(candidates)):
        raise ValueError(
            f"a guide of {given[0]} queries and {given[1]} candidates, for {len(queries)} queries "
            f"and {len(candidates)} candidates"
        )


def _check_layout(queries: Tensor, candidates: Tensor, layout: BatchLayout) -> None:
    expected = (layout.query_counts[layout.rank], layout.candidate_counts[layout.rank])
    if (len(queries), len(candidates)) != expected:
        raise ValueError(
            f"{len(queries)} queries and {len(candidates)} candidates, but the batch layout has "
            f"{expected[0]} and {expected[1]} on this rank"
        )


def _check_vectors(queries: Tensor, passages: Tensor, negatives: Tensor | None) -> None:
    if queries.ndim != 2 or queries.shape != passages.shape:
        raise ValueError(
            "queries and passages must be matrices of one shape, not "
            f"{list(queries.shape)} and {list(passages.shape)}"
        )
    if negatives is not None and (negatives.ndim != 2 or negatives.shape[1] != queries.shape[1]):
        raise ValueError(
            f"negatives must be a matrix of width {queries.shape[1]}, not {list(negatives.shape)}"
        )


def _id_columns(ids: Tensor | None, queries: Tensor, candidates: Tensor) -> Tensor | None:
    """Ids as int64 [B or B + M, K] on the device of the vectors."""
    if ids is None:
        return None
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(f"ids must be integers, not {ids.dtype}")
    columns = ids[:, None] if ids.ndim == 1 else ids
    if columns.ndim != 2 or not columns.shape[1]:
        raise ValueError(f"ids must be [rows] or [rows, k], not {list(ids.shape)}")
    if len(columns) not in (len(queries), len(candidates)):
        raise ValueError(
            f"{len(columns)} rows of ids for {len(queries)} pairs and "
            f"{len(candidates) - len(queries)} hard negatives: give ids to the pairs, or to both"
        )
    return columns.to(queries.device, torch.int64)
