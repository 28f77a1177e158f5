"""Which rank the others wait for."""

import socket
from typing import Any

import numpy as np

from hybrid_dist.runtime.ranks import Ranks

SLOWER, OF_STEP = 0.15, 0.03
"""A rank is named if it takes this share longer than the others, and this share of a step."""


class RankTimes:
    """Names the slowest rank by the time that each takes before the first exchange of a step.

    That time is its own: waiting for a batch and encoding its texts. From there on all wait for
    the last one, so the whole step takes them equally long.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._nodes = ranks.gather(socket.gethostname())

    def record(self, own_ms: np.ndarray, step_ms: float) -> dict[str, Any]:
        """The part of a record with the ranks' own times per step [ranks]; nothing of one rank."""
        if len(own_ms) < 2:
            return {}
        record = {f"system/rank_ms/{rank}": float(ms) for rank, ms in enumerate(own_ms)}
        slowest = int(own_ms.argmax())
        others = float(np.median(np.delete(own_ms, slowest)))
        behind = float(own_ms[slowest]) - others
        if behind < max(SLOWER * others, OF_STEP * step_ms):
            return record
        return record | {
            "system/slowest_rank": slowest,
            "system/slowest_node": self._nodes[slowest],
            "system/slowest_pct": 100 * behind / max(others, 1e-3),
        }
