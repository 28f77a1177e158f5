"""How long tests wait: limits count the time in which what is waited for could run.

A busy machine lets processes wait for a core, which Linux counts for every thread. That time is no
part of a limit, and a slow processor has longer limits. So a test fails because something hangs,
not because the machine is slow.
"""

import time
from functools import cache
from pathlib import Path

SECONDS = 600
"""After which something is taken to hang, on a processor that nothing else keeps busy."""
BETWEEN = 0.5
"""Seconds between two looks at the processes."""
QUICK = 0.05
"""Processor time that `slowness` takes on the machine that SECONDS were chosen on."""


class Patience:
    """A limit for this process and for all that it starts."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._left = seconds * slowness()
        self._at, self._waited = time.monotonic(), waiting_times()

    def is_over(self) -> bool:
        now = time.monotonic()
        if now - self._at >= BETWEEN:
            waited = waiting_times()
            starved = sum(wait - self._waited.get(thread, 0.0) for thread, wait in waited.items())
            self._left -= max(0.0, now - self._at - starved)
            self._at, self._waited = now, waited
        return self._left <= 0


@cache
def slowness() -> float:
    """How many times as long as usual this processor takes; 1 at least."""
    began = time.thread_time()
    sum(number * number % 7 for number in range(500_000))
    return max(1.0, (time.thread_time() - began) / QUICK)


def waiting_times() -> dict[str, float]:
    """By thread of this process and its descendants: seconds for which it waited for a core."""
    times = {}
    for process in (Path("/proc/self").resolve().name, *map(str, descendants())):
        for file in Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                times[file.parent.name] = int(file.read_text().split()[1]) / 1e9
            except (OSError, IndexError):  # it has just ended
                continue
    return times


def descendants(pid: int | str = "self") -> list[int]:
    """The processes that a process started, and those that they started."""
    pids = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has just ended
            continue
        for child in map(int, children):
            pids += [child, *descendants(child)]
    return pids
