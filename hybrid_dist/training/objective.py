"""The options of the loss that a config describes."""

from typing import Any

from hybrid_dist.config.schema import Config
from hybrid_dist.errors import UserError
from hybrid_dist.losses.options import LossOptions, Margin


def loss_options(config: Config) -> LossOptions:
    loss, batching = config.loss, config.batching
    margin = None
    if batching.false_negatives == "margin":
        margin = Margin(batching.margin, batching.margin_kind == "relative")
    return LossOptions(
        symmetric=loss.symmetric,
        margin=margin,
        hardness=loss.hardness,
        query_negatives=loss.query_negatives,
        passage_negatives=loss.passage_negatives,
        dims=loss.dims,
        dim_weights=loss.dim_weights,
    )


def check_dims(dims: tuple[int, ...], model_config: Any) -> None:
    """Reject widths that vectors do not have, from the Hugging Face config of the model."""
    width = model_config.hidden_size
    if wide := [dim for dim in dims if dim > width]:
        raise UserError(
            f"loss.dims: has {wide[0]}, but the model's vectors have {width} dimensions; "
            f"choose {width} or less"
        )
