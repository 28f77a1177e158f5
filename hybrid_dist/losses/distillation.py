"""Distillation: the student learns a teacher's scores, or its vectors.

Vectors of the teacher belong to the same texts, in the same order, as those of the student.

Shapes (more in auxiliary.py):
    T  width of the teacher's vectors
    G  queries on all ranks
    R  rows of a block
"""

import torch
from torch import Tensor

from hybrid_dist.losses.auxiliary import AuxiliaryLoss, Pool
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.gradients import with_gradients
from hybrid_dist.losses.streamed import BLOCK_ROWS
from hybrid_dist.tracking.stopwatch import Stopwatch

Vectors = tuple[Tensor, Tensor]
"""Of this rank's queries and candidates."""


def distill_vectors(
    student: Vectors, teacher: Vectors, kind: str, layout: BatchLayout
) -> AuxiliaryLoss:
    """The mean distance of the student's vectors from the teacher's, over all queries, passages and
    hard negatives of all ranks: 1 - cosine, or for `mse` the mean of the squared differences."""
    stopwatch = Stopwatch(student[0].device)
    with stopwatch("loss"):
        mine, its = torch.cat(student), torch.cat(teacher).float()
        if kind == "cosine":
            distances = 1 - torch.nn.functional.cosine_similarity(mine, its)
        else:
            distances = (mine - its).square().mean(1)
        share = distances.sum() / (layout.global_batch_size + sum(layout.candidate_counts))
    return AuxiliaryLoss(share * len(layout.query_counts), share.detach(), stopwatch)


def distill_scores(
    student: Vectors, teacher: Vectors, temperature: float, layout: BatchLayout
) -> AuxiliaryLoss:
    """The mean over all queries of KL(teacher, student): of the two softmax distributions over the
    candidates of all ranks of the scores divided by `temperature`."""
    (queries, candidates), world = student, len(layout.query_counts)
    its_queries, its_candidates = (part.float() for part in teacher)
    stopwatch = Stopwatch(queries.device)
    with torch.no_grad(), stopwatch("gather"):
        pool, its_pool = Pool.gather(candidates, layout), Pool.gather(its_candidates, layout)
    with torch.no_grad(), stopwatch("loss"):
        grad_weight = world / layout.global_batch_size / temperature
        total, grad_queries, grad_columns = streamed_divergence(
            queries, pool, its_queries, its_pool, temperature, grad_weight
        )
        share = total / layout.global_batch_size
    with stopwatch("gather"):
        grad_candidates = pool.scatter(grad_columns)
    loss = with_gradients(share * world, (grad_queries, grad_candidates), queries, candidates)
    return AuxiliaryLoss(loss, share, stopwatch)


def streamed_divergence(
    rows: Tensor,
    pool: Pool,
    teacher_rows: Tensor,
    teacher_pool: Pool,
    temperature: float,
    grad_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of KL(teacher, student) over rows [B, D], whose teacher's are [B, T], and the
    gradients of the rows [B, D] and of the pool's columns [N, D], multiplied by `grad_weight` and
    by the temperature.

    The derivative by a score of the student is its share minus the teacher's.
    """
    size = BLOCK_ROWS // 4  # about six blocks are held
    total, grad_columns = rows.new_zeros(()), torch.zeros_like(pool.columns)
    grad_rows = torch.empty_like(rows)
    for start in range(0, len(rows), size):
        where = slice(start, start + size)
        logs = pool.log_shares(rows[where], temperature)
        wanted_logs = teacher_pool.log_shares(teacher_rows[where], temperature).to(logs.dtype)
        wanted = wanted_logs.exp()
        total += (wanted * wanted_logs.sub_(logs)).sum()
        coefficients = logs.exp_().sub_(wanted) * grad_weight
        grad_rows[where] = coefficients @ pool.columns
        grad_columns.addmm_(coefficients.T, rows[where])
    return total, grad_rows, grad_columns
