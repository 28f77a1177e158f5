"""Where a run stands: all that is not a tensor or a random state."""

import math
from dataclasses import dataclass
from typing import Any

MAX_STEPS = 10**9
"""More than any run trains: a manifest that claims more is damaged."""


@dataclass(frozen=True)
class Progress:
    step: int = 0
    best: float | None = None
    best_step: int | None = None
    no_better: int = 0
    """Evaluations since the best one."""
    skipped: int = 0
    """Updates that were skipped since their gradient was not finite."""
    metric: str | None = None
    """The figure that chose the best; none before the first evaluation, and in checkpoints of
    layout 2."""
    higher_is_better: bool | None = None


COUNTS = ("step", "no_better", "skipped")


def problem(progress: Progress) -> str | None:
    """What no run can have come to; none when every field is of its type and within its range."""
    for name in COUNTS:
        value = getattr(progress, name)
        if type(value) is not int or not 0 <= value <= MAX_STEPS:
            return f"{name} is {_shown(value)}"
    for name in ("no_better", "skipped"):
        if getattr(progress, name) > progress.step:
            return f"{name} is {getattr(progress, name)}, more than its {progress.step} steps"
    best, best_step = progress.best, progress.best_step
    if (best is None) != (best_step is None):
        return "best and best_step do not belong together"
    if best is not None and not _is_finite(best):
        return f"best is {_shown(best)}"
    if best_step is not None and not (type(best_step) is int and 0 <= best_step <= progress.step):
        return f"best_step is {_shown(best_step)}, of {progress.step} steps"
    metric, direction = progress.metric, progress.higher_is_better
    if (metric is None) != (direction is None):
        return "metric and higher_is_better do not belong together"
    if metric is not None and not (isinstance(metric, str) and isinstance(direction, bool)):
        return f"metric is {_shown(metric)}, higher_is_better {_shown(direction)}"
    return None


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
