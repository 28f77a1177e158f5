"""Options of the loss: which are rejected, and the widths that they stand for."""

import math
from collections.abc import Callable

import pytest
import torch

from hybrid_dist.losses import Guide, InfoNCE, LossOptions, Margin


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Margin(math.nan), "margin must be finite, not nan"),
        (lambda: LossOptions(hardness=-1), "hardness must be at least 0 and finite, not -1"),
        (lambda: LossOptions(symmetric=True, query_negatives=True), "cannot be combined"),
        (lambda: LossOptions(dims=(4, 4)), r"different positive numbers, not \[4, 4\]"),
        (lambda: LossOptions(dims=(0,)), r"different positive numbers, not \[0\]"),
        (lambda: LossOptions(dims=(4,), dim_weights=(1, 2)), "2 dim_weights for 1 dims"),
        (lambda: LossOptions(dims=(4,), dim_weights=(0,)), r"positive and finite, not \[0\]"),
    ],
)
def test_impossible_options_are_rejected(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_widths_start_with_the_full_one_and_their_weights_sum_to_one() -> None:
    assert LossOptions().widths(8) == [(8, 1.0)]
    assert LossOptions(dims=(2, 4)).widths(8) == [(8, 1 / 3), (4, 1 / 3), (2, 1 / 3)]
    weighted = LossOptions(dims=(2, 8), dim_weights=(3.0, 5.0))
    assert weighted.widths(8) == [(8, 5 / 8), (2, 3 / 8)]


def test_dims_above_the_width_of_the_vectors_are_rejected() -> None:
    vectors = torch.ones(2, 8)
    with pytest.raises(ValueError, match="dims has 9, but vectors have 8 dimensions"):
        InfoNCE(options=LossOptions(dims=(4, 9)))(vectors, vectors)


def test_a_guide_of_other_texts_is_rejected() -> None:
    vectors = torch.ones(3, 8)
    with pytest.raises(ValueError, match="a guide of 3 queries and 2 candidates, for 3 queries"):
        InfoNCE()(vectors, vectors, guide=Guide(vectors, vectors[:2]))
