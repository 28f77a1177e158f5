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
BY_FILE = signal.NSIG
"""What stands for the file STOP where signals are numbers."""
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
        self._stop_file = self._save_file = self._profile_file = False
        self._in_flight = deque[HostCopy]()
        """All-reduces whose result has not been read yet."""

    def at_edge(self, now: bool, failed: bool = False, is_traced: bool = False) -> PendingRequests:
        """The pending requests, the same on every rank, by one small all-reduce.

        The result is read one step later, so that no host waits for its GPU; `now` reads it at this
        edge. `failed`: this rank could not write a checkpoint in the background. `is_traced`: steps
        are traced already.
        """
        self._look()
        wanted = (failed, self._stop_file, self._save_file, self._profile_file and not is_traced)
        own = [self._interruption.signal, *map(int, wanted)]
        self._save_file = self._profile_file = False
        self._in_flight.append(self._ranks.largest(own))
        agreed = [0] * len(own)
        while len(self._in_flight) > (0 if now or self._ranks.world == 1 else 1):
            read = self._in_flight.popleft().read()
            agreed = [old or new for old, new in zip(agreed, read, strict=True)]
        number, failing, stop, save, profile = agreed
        stopped_by = name_of(number) if number else STOP if stop else None
        saves = bool(save) and not number
        return PendingRequests(stopped_by, saves, bool(failing), bool(profile))

    def asked(self) -> int:
        """What asks this rank to stop: a signal's number or BY_FILE; 0 for nothing."""
        self._look()
        return self._interruption.signal or BY_FILE * self._stop_file

    def _look(self) -> None:
        """Look for the files, on the first rank, now and then."""
        now = time.monotonic()
        if self._ranks.is_first and now - self._last_look >= SECONDS_BETWEEN_LOOKS:
            self._last_look = now
            self._stop_file |= _consume(self._folder / STOP)
            self._save_file |= _consume(self._folder / SAVE)
            self._profile_file = (self._folder / PROFILE).exists()


def name_of(number: int) -> str:
    """The name of what `Requests.asked` returns."""
    return STOP if number == BY_FILE else signal.Signals(number).name


def _consume(file: Path) -> bool:
    """Whether the file exists; it is removed, so that it counts once."""
    if not file.exists():
        return False
    with suppress(OSError):
        file.unlink()
    return True
