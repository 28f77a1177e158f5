"""Ranks in one process, for collective code whose results must not depend on their number."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from hybrid_dist.runtime.ranks import Ranks


class ThreadRanks(Ranks):
    """Ranks that are threads of this process."""

    barrier_: threading.Barrier
    box: list[Any]

    def barrier(self) -> None:
        self._exchange(None)

    def sum(self, array: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.sum(self._exchange(array), axis=0)
        return total

    def broadcast_from_first(self, thing: Any) -> Any:
        return self._exchange(thing)[0]

    def gather(self, thing: Any) -> list[Any]:
        return self._exchange(thing)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        return np.concatenate(self._exchange(array))

    def _exchange(self, thing: Any) -> list[Any]:
        self.box[self.rank] = thing
        self.barrier_.wait()
        everything = list(self.box)
        self.barrier_.wait()
        return everything


def together(world: int, work: Callable[[int, Ranks], None]) -> None:
    """Run `work(rank, ranks)` on every rank; raises what the first of them raised."""
    barrier, box = threading.Barrier(world), [None] * world
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        ranks = ThreadRanks(rank, world)
        object.__setattr__(ranks, "barrier_", barrier)
        object.__setattr__(ranks, "box", box)
        try:
            work(rank, ranks)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
