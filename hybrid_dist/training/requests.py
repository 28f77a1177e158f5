"""Requests to a running run: agreed on by all ranks at the edge of a step."""

import signal
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hybrid_dist.runtime.host_copy import HostCopy
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.signals import Interruption

STOP, SAVE, PROFILE = "STOP", "SAVE", "PROFILE"
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class PendingRequests:
    stop: str | None = None
    """The name of the signal or file that stops the run; None to continue."""
    save: bool = False
    failed: bool = False
    """A checkpoint could not be written in the background."""
    profile: bool = False
    """The next steps are to be traced; the file stays until they are."""


class Requests:
    """Signals to any rank, and the files STOP, SAVE and PROFILE in the run folder."""

    def __init__(self, folder: Path, ranks: Ranks, interruption: Interruption) -> None:
        self._folder, self._ranks, self._interruption = folder, ranks, interruption
        self._last_look = -SECONDS_BETWEEN_LOOKS
        self._in_flight = deque[HostCopy]()
        """All-reduces whose result has not been read yet."""

    def at_edge(self, now: bool, failed: bool = False, is_traced: bool = False) -> PendingRequests:
        """The pending requests, the same on every rank, by one small all-reduce.

        The result is read one step later, so that no host waits for its GPU; `now` reads it at this
        edge. `failed`: this rank could not write a checkpoint in the background. `is_traced`: steps
        are traced already.
        """
        stop_file, save_file, profile_file = self._files()
        wanted = (failed, stop_file, save_file, profile_file and not is_traced)
        own = [self._interruption.signal, *map(int, wanted)]
        self._in_flight.append(self._ranks.largest(own))
        agreed = [0] * len(own)
        while len(self._in_flight) > (0 if now or self._ranks.world == 1 else 1):
            read = self._in_flight.popleft().read()
            agreed = [old or new for old, new in zip(agreed, read, strict=True)]
        number, failing, stop, save, profile = agreed
        stopped_by = signal.Signals(number).name if number else STOP if stop else None
        saves = bool(save) and not number
        return PendingRequests(stopped_by, saves, bool(failing), bool(profile))

    def _files(self) -> tuple[bool, bool, bool]:
        """Which of the files STOP, SAVE and PROFILE are there, on the first rank."""
        now = time.monotonic()
        if not self._ranks.is_first or now - self._last_look < SECONDS_BETWEEN_LOOKS:
            return False, False, False
        self._last_look = now
        stop, save = (_consume(self._folder / name) for name in (STOP, SAVE))
        return stop, save, (self._folder / PROFILE).exists()


def _consume(file: Path) -> bool:
    """Whether the file exists; it is removed, so that it counts once."""
    if not file.exists():
        return False
    with suppress(OSError):
        file.unlink()
    return True
