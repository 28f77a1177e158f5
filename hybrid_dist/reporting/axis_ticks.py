"""Ticks of logarithmic axes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator


def log_ticks(low: float, high: float) -> list[float]:
    """Three ticks or more: powers of ten, 1-2-5 steps, or equal steps if the span is short."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1,), (1, 2, 5)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        shown = [tick for tick in ticks if low <= tick <= high]
        if len(shown) >= 3:
            return shown
    equal = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=4).tick_values(low, high)
    return [float(tick) for tick in equal if low <= tick <= high]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """The ticks with as few decimals as keep them exact."""
    digits = next((d for d in range(6) if np.allclose(np.round(ticks, d), ticks, 1e-9, 1e-9)), 6)
    return [f"{tick:,.{digits}f}" for tick in ticks]
