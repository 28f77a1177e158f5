"""Which way the tokens of a model attend: to those before them, as in decoders, or to all; and how
far."""

from typing import Any

import torch

from hybrid_dist.errors import UserError

PROBE = ((3, 4, 5, 6), (3, 4, 5, 7))
"""Token ids of two texts that differ in the last token only."""


def is_causal(backbone: Any) -> bool:
    """Whether attention is to earlier tokens only, as the modules and the config declare it."""
    if not getattr(backbone.config, "is_causal", True):
        return False
    return any(getattr(module, "is_causal", False) is True for module in backbone.modules())


def window_of(module: Any) -> int | None:
    """The sliding window of an attention module, the token itself included; None if it has none."""
    window = getattr(module, "sliding_window", None)
    return window if isinstance(window, int) else None


def attend_both_ways(backbone: Any) -> None:
    """Let the tokens of a decoder attend to those after them too.

    `is_causal` in the config is transformers' own switch. It is saved with the model, so that
    transformers and sentence-transformers apply it as well.
    """
    config = backbone.config
    if not getattr(config, "is_causal", True):
        return  # saved by a run that had it
    kind = config.model_type
    if _first_sees_last(backbone):
        raise UserError(
            f"model.attention: models of type {kind} attend to all tokens already; leave it at "
            "auto (bidirectional is for decoders)"
        )
    config.is_causal = False
    if not _first_sees_last(backbone):
        raise UserError(
            f"model.attention: models of type {kind} stay causal in the installed version of "
            "transformers; leave it at auto"
        )


@torch.no_grad()
def _first_sees_last(backbone: Any) -> bool:
    """Whether the first token's hidden state depends on the last token."""
    training = backbone.training
    first = backbone.eval()(input_ids=torch.tensor(PROBE)).last_hidden_state[:, 0]
    backbone.train(training)
    return bool((first[0] - first[1]).abs().max() > 1e-5 * first.abs().max())
