"""Distillation against its definitions in float64, in one process.

tests/launched/test_updates.py compares updates on several ranks.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hybrid_dist.losses import distillation
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.distillation import distill_scores, distill_vectors

QUERIES, NEGATIVES, TEMPERATURE = 23, 6, 0.1
LAYOUT = BatchLayout(0, (QUERIES,), None, (NEGATIVES,))


def vectors(seed: int, width: int) -> tuple[Tensor, Tensor]:
    """Of queries and of candidates, in float64."""
    generator = torch.Generator().manual_seed(seed)
    sizes = QUERIES, QUERIES + NEGATIVES
    made = [torch.randn(n, width, generator=generator, dtype=torch.float64) for n in sizes]
    queries, candidates = (functional.normalize(part, dim=1) for part in made)
    return queries, candidates


def leaves(parts: tuple[Tensor, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    queries, candidates = (part.to(dtype).requires_grad_() for part in parts)
    return queries, candidates


@pytest.mark.parametrize("block_rows", [512, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_divergence_and_gradients_equal_the_definition(
    block_rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wider teacher in float16; in one block, and in blocks of two rows."""
    monkeypatch.setattr(distillation, "BLOCK_ROWS", block_rows)
    queries, candidates = (part.half() for part in vectors(1, 12))
    student, exact = leaves(vectors(0, 8), dtype), leaves(vectors(0, 8), torch.float64)
    output = distill_scores(student, (queries, candidates), TEMPERATURE, LAYOUT)
    (3 * output.loss).backward()
    wanted = (queries.double() @ candidates.double().T / TEMPERATURE).softmax(1)
    shares = (exact[0] @ exact[1].T / TEMPERATURE).softmax(1)
    loss = (wanted * (wanted / shares).log()).sum(1).mean()
    (3 * loss).backward()
    close = torch.testing.assert_close
    close(output.share.double(), loss.detach(), rtol=1e-5, atol=1e-6)
    for part, true in zip(student, exact, strict=True):
        assert part.grad is not None and true.grad is not None
        close(part.grad.double(), true.grad, rtol=1e-5, atol=1e-6)


def test_a_student_that_scores_as_its_teacher_learns_nothing() -> None:
    student = leaves(vectors(0, 8), torch.float32)
    teacher = functional.pad(student[0].detach(), (0, 2)), functional.pad(student[1], (0, 2))
    output = distill_scores(student, teacher, TEMPERATURE, LAYOUT)
    output.loss.backward()
    assert abs(output.share) < 1e-6
    for part in student:
        assert part.grad is not None and part.grad.abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_vectors_of_all_texts_count_equally(kind: str) -> None:
    student, teacher = vectors(0, 8), vectors(1, 8)
    output = distill_vectors(student, teacher, kind, LAYOUT)
    mine, its = torch.cat(student), torch.cat(teacher)
    if kind == "cosine":
        wanted = 1 - functional.cosine_similarity(mine, its).mean()
    else:
        wanted = functional.mse_loss(mine, its)
    torch.testing.assert_close(output.loss, wanted, rtol=1e-6, atol=1e-7)
