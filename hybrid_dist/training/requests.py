"""Requests to a running run, to stop or to save: agreed on by all ranks at the edge of a step."""

import signal
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hybrid_dist.runtime.host_copy import HostCopy
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.signals import Interruption

STOP, SAVE = "STOP", "SAVE"
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class PendingRequests:
    stop: str | None = None
    """The name of the signal or file that stops the run; None to continue."""
    save: bool = False


class Requests:
    """Signals to any rank, and the files STOP and SAVE in the run folder."""

    def __init__(self, folder: Path, ranks: Ranks, interruption: Interruption) -> None:
        self._folder, self._ranks, self._interruption = folder, ranks, interruption
        self._last_look = -SECONDS_BETWEEN_LOOKS
        self._in_flight = deque[HostCopy]()
        """All-reduces whose result has not been read yet."""

    def at_edge(self, now: bool) -> PendingRequests:
        """The pending requests, the same on every rank, by one small all-reduce.

        The result is read one step later, so that no host waits for its GPU; `now` reads it at this
        edge.
        """
        stop_file, save_file = self._files()
        own = [self._interruption.signal, int(stop_file), int(save_file)]
        self._in_flight.append(self._ranks.largest(own))
        number = stop = save = 0
        while len(self._in_flight) > (0 if now or self._ranks.world == 1 else 1):
            agreed = self._in_flight.popleft().read()
            number, stop, save = number or agreed[0], stop or agreed[1], save or agreed[2]
        if number:
            return PendingRequests(signal.Signals(number).name)
        return PendingRequests(STOP if stop else None, bool(save))

    def _files(self) -> tuple[bool, bool]:
        now = time.monotonic()
        if not self._ranks.is_first or now - self._last_look < SECONDS_BETWEEN_LOOKS:
            return False, False
        self._last_look = now
        return _consume(self._folder / STOP), _consume(self._folder / SAVE)


def _consume(file: Path) -> bool:
    """Whether the file exists; it is removed, so that it counts once."""
    if not file.exists():
        return False
    with suppress(OSError):
        file.unlink()
    return True
