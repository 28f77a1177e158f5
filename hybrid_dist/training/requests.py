"""What a run is asked for while it runs, agreed by all ranks at the edge of a step."""

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
    """What asked the run to stop: a signal's name or the file's; none to go on."""
    save: bool = False


class Requests:
    """Signals to any rank, and the files STOP and SAVE in the run folder."""

    def __init__(self, folder: Path, ranks: Ranks, interruption: Interruption) -> None:
        self._folder, self._ranks, self._interruption = folder, ranks, interruption
        self._looked = -SECONDS_BETWEEN_LOOKS
        self._asked = deque[HostCopy]()
        """Agreements on their way."""

    def at_edge(self, now: bool) -> PendingRequests:
        """The same answer on every rank, by one small all-reduce.

        It is read a step later, so that no host waits for its GPU; `now`: at this edge.
        """
        stop_file, save_file = self._files()
        own = [self._interruption.signal, int(stop_file), int(save_file)]
        self._asked.append(self._ranks.largest(own))
        number = stop = save = 0
        while len(self._asked) > (0 if now or self._ranks.world == 1 else 1):
            answer = self._asked.popleft().read()
            number, stop, save = number or answer[0], stop or answer[1], save or answer[2]
        if number:
            return PendingRequests(signal.Signals(number).name)
        return PendingRequests(STOP if stop else None, bool(save))

    def _files(self) -> tuple[bool, bool]:
        now = time.monotonic()
        if not self._ranks.is_first or now - self._looked < SECONDS_BETWEEN_LOOKS:
            return False, False
        self._looked = now
        return _taken(self._folder / STOP), _taken(self._folder / SAVE)


def _taken(file: Path) -> bool:
    """Whether the file is there; it is removed, so that it asks once."""
    if not file.exists():
        return False
    with suppress(OSError):
        file.unlink()
    return True
