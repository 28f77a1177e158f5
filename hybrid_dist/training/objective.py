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


def copies_of_vectors(config: Config) -> int:
    """How many copies of all ranks' vectors the losses of a step hold, gradients not counted."""
    cuts = 1 if config.loss.dims else 0  # one width after the other
    rankings = config.align.weight > 0 and config.align.kind == "jsd"
    distill = config.distill
    scores = bool(distill.teacher) and distill.weight > 0 and distill.kind == "scores"
    guide = config.batching.margin_scores == "teacher"
    return 1 + cuts + config.loss.query_negatives + rankings + 2 * scores + guide


def check_dims(dims: tuple[int, ...], model_config: Any) -> None:
    """Reject widths that vectors do not have, from the Hugging Face config of the model."""
    width = model_config.hidden_size
    if wide := [dim for dim in dims if dim > width]:
        raise UserError(
            f"loss.dims: has {wide[0]}, but the model's vectors have {width} dimensions; "
            f"choose {width} or less"
        )
