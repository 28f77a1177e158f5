"""Where ranks wait for the last of them, however long it works.

A collective of the process group ends the run once a rank has waited in it for a fixed time, even
for one that embeds a corpus. Here the limit is far beyond any work: ending a rank that hangs is the
watchdog's part.
"""

from datetime import timedelta

from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.status_board import shared_store

PATIENCE = timedelta(days=30)


class Meeting:
    """All ranks make it together, and come to it equally often."""

    def __init__(self, ranks: Ranks) -> None:
        self._store, self._world, self._times = shared_store(ranks, PATIENCE), ranks.world, 0

    def asked(self, by: int) -> int:
        """Wait for all ranks; the number that one of them gives, 0 if none gives another."""
        asked, here, all_here = (f"{self._times}/{name}" for name in ("asked", "here", "all"))
        self._times += 1
        if by:
            self._store.set(asked, str(by))
        if self._store.add(here, 1) == self._world:
            answer = self._store.get(asked) if self._store.check([asked]) else b"0"
            self._store.set(all_here, answer.decode())
        return int(self._store.get(all_here))
