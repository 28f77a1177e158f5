"""Leaving long work, such as an evaluation, on all ranks at once when one is asked to stop.

Every collective of the work is preceded by a meeting that agrees on stopping. A rank that is asked
to stop between two collectives comes to the meeting at once: the others are there, or will be. So a
rank also waits for others in the meeting only, and a collective takes no longer than itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.meeting import Meeting
from hybrid_dist.runtime.ranks import Ranks

Asked = Callable[[], int]
"""What asks this rank to stop, as a number above 0; 0 for nothing."""


class Stopped(Exception):
    """The work was left before its end, on all ranks; `by` is the number that asked for it."""

    def __init__(self, by: int) -> None:
        super().__init__(f"stopped by {by}")
        self.by = by


@dataclass(frozen=True)
class StoppableRanks(Ranks):
    """Ranks whose collectives raise Stopped on all of them if one is asked to stop."""

    asked: Asked = lambda: 0
    meeting: Meeting | None = None
    """None for a lone process."""

    def agree_to_go_on(self) -> None:
        """All ranks call it together, or come to it by their next collective."""
        by = self.asked()
        if self.meeting is not None:
            by = self.meeting.asked(by)
        if by:
            super().barrier()  # all have the answer: the meeting may end with rank 0
            raise Stopped(by)

    def between(self) -> None:
        """Called by one rank, anywhere between its collectives."""
        if self.asked():
            self.agree_to_go_on()

    def barrier(self) -> None:
        self.agree_to_go_on()
        super().barrier()

    def gather(self, thing: Any) -> list[Any]:
        self.agree_to_go_on()
        return super().gather(thing)

    def broadcast_from_first(self, thing: Any) -> Any:
        self.agree_to_go_on()
        return super().broadcast_from_first(thing)

    def sum(self, array: np.ndarray) -> np.ndarray:
        self.agree_to_go_on()
        return super().sum(array)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        self.agree_to_go_on()
        return super().gather_rows(array)


@contextmanager
def stoppable(ranks: Ranks, asked: Asked) -> Iterator[Ranks]:
    """The ranks for work that all of them leave, by Stopped, when one is asked to stop: at its next
    collective, or where progress is shown."""
    meeting = Meeting(ranks) if ranks.world > 1 else None
    own = StoppableRanks(ranks.rank, ranks.world, ranks.device, asked, meeting)
    with progress_bar.interrupted_by(own.between):
        yield own
    own.barrier()  # one rank may have been asked after the last collective of the work
