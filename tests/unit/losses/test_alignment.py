"""The alignment of rankings against its definition in float64, in one process.

tests/launched/test_updates.py compares updates on several ranks.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hybrid_dist.losses import alignment
from hybrid_dist.losses.alignment import Translations, align_rankings, align_vectors
from hybrid_dist.losses.auxiliary import AuxiliaryLoss, Pool
from hybrid_dist.losses.batch_layout import BatchLayout

QUERIES, NEGATIVES, WIDTH, TEMPERATURE = 23, 6, 8, 0.1
ORIGINALS = torch.tensor([0, 3, 4, 7, 11, 12, 19, 22, 5])
LAYOUT = BatchLayout(0, (QUERIES,), None, (NEGATIVES,))


def vectors() -> list[Tensor]:
    """Of queries, candidates and translations, in float64."""
    generator = torch.Generator().manual_seed(0)
    sizes = QUERIES, QUERIES + NEGATIVES, len(ORIGINALS)
    made = [torch.randn(n, WIDTH, generator=generator, dtype=torch.float64) for n in sizes]
    return [functional.normalize(part, dim=1).requires_grad_() for part in made]


def rankings(parts: list[Tensor]) -> AuxiliaryLoss:
    queries, candidates, translated = parts
    pool, of = Pool.gather(candidates, LAYOUT), Translations(ORIGINALS, len(ORIGINALS))
    return align_rankings(queries, candidates, translated, of, TEMPERATURE, pool)


def definition(parts: list[Tensor]) -> Tensor:
    queries, candidates, translated = parts
    p = (queries[ORIGINALS] @ candidates.T / TEMPERATURE).softmax(1)
    q = (translated @ candidates.T / TEMPERATURE).softmax(1)
    mean = (p + q) / 2
    return ((p * (p / mean).log()).sum(1) + (q * (q / mean).log()).sum(1)).mean() / 2


@pytest.mark.parametrize("block_rows", [512, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_divergence_and_gradients_equal_the_definition(
    block_rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one block, and in blocks of two rows."""
    monkeypatch.setattr(alignment, "BLOCK_ROWS", block_rows)
    exact = vectors()
    definition(exact).backward()
    actual = [part.detach().to(dtype).requires_grad_() for part in exact]
    output = rankings(actual)
    (3 * output.loss).backward()
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    close = torch.testing.assert_close
    close(output.share.double(), definition(exact), rtol=tolerance, atol=tolerance)
    for part, true in zip(actual, exact, strict=True):
        assert part.grad is not None and true.grad is not None
        close(part.grad.double(), 3 * true.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("temperature", [1e-4, 100.0])
def test_padding_columns_have_no_share(temperature: float) -> None:
    """Even at the lowest temperature, where all cosines are negative: padding scores 0."""
    columns = functional.pad(vectors()[1].detach().float(), (0, 0, 0, 5))
    padding = torch.arange(len(columns)) >= QUERIES + NEGATIVES
    pool = Pool(columns, padding, LAYOUT)
    rows = -columns[:4]
    shares = pool.log_shares(rows, temperature).exp()
    assert not shares[:, padding].any()
    whole = (rows.double() @ columns[~padding].T.double() / temperature).softmax(1)
    torch.testing.assert_close(shares[:, ~padding].double(), whole, rtol=1e-3, atol=1e-3)
    totals = alignment.streamed_jensen_shannon(rows, columns[4:8], pool, temperature, 1.0)
    assert all(part.isfinite().all() for part in totals)


def test_equal_rankings_have_no_divergence_and_no_gradient() -> None:
    queries, candidates, _ = vectors()
    same = queries.detach()[ORIGINALS].clone().requires_grad_()
    output = rankings([queries, candidates, same])
    output.loss.backward()
    assert abs(output.share) < 1e-14
    for part in (queries, candidates, same):
        assert part.grad is not None and part.grad.abs().max() < 1e-12


def test_a_rank_without_translations_has_zero_loss_and_gradients() -> None:
    queries, candidates, translated = vectors()
    pool, none = Pool.gather(candidates, LAYOUT), Translations(ORIGINALS[:0], 5)
    output = align_rankings(queries, candidates, translated[:0], none, TEMPERATURE, pool)
    output.loss.backward()
    assert output.loss == 0
    assert candidates.grad is not None and not candidates.grad.any()


def test_mse_is_cosine_by_another_weight() -> None:
    """As docs/distillation.md says; a passage is aligned as well."""
    queries, candidates, translated = vectors()
    translations = Translations(ORIGINALS + 8, len(ORIGINALS))
    cosine, mse = (
        align_vectors(queries, candidates, translated, translations, kind, 1).loss
        for kind in ("cosine", "mse")
    )
    torch.testing.assert_close(mse * WIDTH / 2, cosine)
    originals = torch.cat([queries, candidates])[ORIGINALS + 8]
    torch.testing.assert_close(
        cosine, 1 - functional.cosine_similarity(originals, translated).mean()
    )
