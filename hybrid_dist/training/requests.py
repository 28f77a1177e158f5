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
    failed: bool = False
    """A checkpoint could not be written in the background."""


class Requests:
    """Signals to any rank, and the files STOP and SAVE in the run folder."""

    def __init__(self, folder: Path, ranks: Ranks, interruption: Interruption) -> None:
        self._folder, self._ranks, self._interruption = folder, ranks, interruption
        self._last_look = -SECONDS_BETWEEN_LOOKS
        self._in_flight = deque[HostCopy]()
        """All-reduces whose result has not been read yet."""

    def at_edge(self, now: bool, failed: bool = False) -> PendingRequests:
        """The pending requests, the same on every rank, by one small all-reduce.

        The result is read one step later, so that no host waits for its GPU; `now` reads it at this
        edge. `failed`: this rank could not write a checkpoint in the background.
        """
        own = [self._interruption.signal, int(failed), *map(int, self._files())]
        self._in_flight.append(self._ranks.largest(own))
        agreed = [0] * len(own)
        while len(self._in_flight) > (0 if now or self._ranks.world == 1 else 1):
            read = self._in_flight.popleft().read()
            agreed = [old or new for old, new in zip(agreed, read, strict=True)]
        number, failing, stop, save = agreed
        stopped_by = signal.Signals(number).name if number else STOP if stop else None
        saves = bool(save) and not number
        return PendingRequests(stopped_by, saves, bool(failing))

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
