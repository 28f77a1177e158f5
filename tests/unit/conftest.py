"""Fixtures for the unit tests."""

import pickle
import sys
from collections.abc import Callable
from functools import wraps

import pytest

PLOTS = "hybrid_dist.reporting.plots"
DRAWN: dict[bytes, bytes] = {}
"""Images by the function that drew them and what it was given."""


@pytest.fixture(autouse=True)
def _equal_plots_are_drawn_once() -> None:
    """Nearly all the time of a report goes into its plots, and many tests have the same ones."""
    for name, draw in list(vars(sys.modules[PLOTS]).items()) if PLOTS in sys.modules else ():
        draws = getattr(draw, "__annotations__", {}).get("return") is bytes
        if draws and name[0] != "_" and not hasattr(draw, "__wrapped__"):
            setattr(sys.modules[PLOTS], name, _once(draw))


def _once(draw: Callable[..., bytes]) -> Callable[..., bytes]:
    @wraps(draw)
    def once(*words: object, **named: object) -> bytes:
        key = pickle.dumps((draw.__name__, words, named))
        if key not in DRAWN:
            DRAWN[key] = draw(*words, **named)
        return DRAWN[key]

    return once
