"""The loss that a config describes."""

from types import SimpleNamespace

import pytest

from hybrid_dist.config.schema import Batching, Config, Loss
from hybrid_dist.errors import UserError
from hybrid_dist.losses import LossOptions, Margin
from hybrid_dist.training.objective import check_dims, loss_options


def test_the_default_is_plain_info_nce() -> None:
    assert loss_options(Config()) == LossOptions()


def test_every_option_reaches_the_loss() -> None:
    config = Config(
        batching=Batching(false_negatives="margin", margin=0.1, margin_kind="relative"),
        loss=Loss(
            query_negatives=True,
            passage_negatives=True,
            hardness=3,
            dims=(64, 128),
            dim_weights=(1, 2),
        ),
    )
    assert loss_options(config) == LossOptions(
        margin=Margin(0.1, is_relative=True),
        hardness=3,
        query_negatives=True,
        passage_negatives=True,
        dims=(64, 128),
        dim_weights=(1, 2),
    )
    assert loss_options(Config(loss=Loss(symmetric=True))) == LossOptions(symmetric=True)


def test_dims_that_the_model_does_not_have_are_rejected() -> None:
    model_config = SimpleNamespace(hidden_size=32)
    check_dims((16, 32), model_config)
    with pytest.raises(UserError, match=r"loss.dims: has 64, .* 32 dimensions; choose 32 or less"):
        check_dims((16, 64), model_config)
