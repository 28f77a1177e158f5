"""InfoNCE, the module, in one process: tests/launched/test_infonce.py has DDP's ranks."""

import pytest
import torch
from torch import Tensor

from hybrid_dist.losses import InfoNCE, LossOptions
from hybrid_dist.losses.reference import reference_info_nce
from tests.support.loss_cases import CASES, SIZE, TEMPERATURE, WIDTH, Case, expected, vectors


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_module_equals_the_reference(case: Case) -> None:
    queries, passages, negatives = (part.clone().requires_grad_() for part in vectors())
    module = InfoNCE(TEMPERATURE, case.options)
    loss = module(
        queries, passages, negatives if case.negatives else None, case.ids(), case.guide()
    )
    loss.backward()
    reference = expected(case)
    torch.testing.assert_close(loss, reference["loss"], rtol=1e-12, atol=0)
    for name, leaf in (("queries", queries), ("passages", passages), ("negatives", negatives)):
        if name != "negatives" or case.negatives:
            torch.testing.assert_close(leaf.grad, reference[name], rtol=1e-10, atol=1e-14)


def test_ids_may_be_a_vector_of_any_integers() -> None:
    queries, passages, _ = vectors()
    few = torch.arange(SIZE) % 4
    module = InfoNCE(TEMPERATURE)
    loss = reference_info_nce(queries, passages, TEMPERATURE, few[:, None]).mean()
    for ids in (few, few[:, None], few.int(), few.to(torch.uint8), -1 - few, few - 2, few * 2**60):
        torch.testing.assert_close(module(queries, passages, ids=ids), loss)
    assert not torch.isclose(module(queries, passages), loss)


def test_hard_negatives_without_ids_are_never_masked() -> None:
    """Not even by -1, which stands for a missing id inside."""
    queries, passages, negatives = vectors()
    few = torch.arange(SIZE) % 4 - 2
    candidates = torch.cat([passages, negatives])
    unlike = torch.arange(100, 100 + len(negatives))
    ids = torch.cat([few, unlike])[:, None]
    loss = reference_info_nce(queries, candidates, TEMPERATURE, ids).mean()
    torch.testing.assert_close(InfoNCE(TEMPERATURE)(queries, passages, negatives, few), loss)


def test_the_loss_of_half_precision_vectors_is_fp32_under_autocast_too() -> None:
    queries, passages = (part.bfloat16() for part in vectors()[:2])
    exact = reference_info_nce(queries.double(), passages.double(), 0.05).mean()
    with torch.autocast("cpu", torch.bfloat16):
        loss = InfoNCE()(queries, passages)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused_by_its_value(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature must be positive.* not {temperature}"):
        InfoNCE(temperature)


def test_the_options_are_shown() -> None:
    assert repr(InfoNCE()) == "InfoNCE(temperature=0.05)"
    shown = repr(InfoNCE(0.1, LossOptions(symmetric=True, dims=(2, 4))))
    assert shown == "InfoNCE(temperature=0.1, symmetric=True, dims=(2, 4))"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"passages": torch.ones(3, WIDTH)}, r"one shape, not \[2, 8\] and \[3, 8\]"),
        ({"queries": torch.ones(WIDTH), "passages": torch.ones(WIDTH)}, r"matrices of one shape"),
        ({"negatives": torch.ones(3, 5)}, r"matrix of width 8, not \[3, 5\]"),
        ({"ids": torch.ones(2)}, r"integers, not torch.float32"),
        ({"ids": torch.ones(2, dtype=torch.bool)}, r"integers, not torch.bool"),
        ({"ids": torch.ones(2, 1, 1).long()}, r"\[rows\] or \[rows, k\], not \[2, 1, 1\]"),
        ({"ids": torch.ones(2, 0).long()}, r"\[rows\] or \[rows, k\], not \[2, 0\]"),
        ({"ids": torch.ones(5).long()}, r"5 rows of ids for 2 pairs and 4 hard negatives"),
        (
            {"queries": torch.ones(0, WIDTH), "passages": torch.ones(0, WIDTH)},
            r"no queries on any rank",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changed: dict[str, Tensor], message: str) -> None:
    inputs = {
        "queries": torch.ones(2, WIDTH),
        "passages": torch.ones(2, WIDTH),
        "negatives": torch.ones(4, WIDTH),
    }
    with pytest.raises(ValueError, match=message):
        InfoNCE()(**inputs | changed)
