"""Ends a run in which one rank waits for another that hangs, and names the hanging one."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hybrid_dist.runtime.ranks import Ranks

SECONDS_BETWEEN_LOOKS = 0.25
LOOKS_BETWEEN_WORDS = 20
AT_WORK = 0.1
"""Share of a CPU core above which a process counts as computing; a hanging one uses almost none."""
SILENCE = 10.0
"""Seconds for which a busy machine may delay a report."""
UNREACHABLE = "rank 0 cannot be reached: its process or its node is gone or frozen"
PACKAGE, TORCH = Path(__file__).parents[1], Path(torch.__file__).parent
COLLECTIVES = (PACKAGE / "runtime" / "ranks.py",)
DEVICE_WORK = tuple(PACKAGE / name for name in ("training", "losses", "model"))


@dataclass(frozen=True)
class RankStatus:
    """Where a rank's main thread is."""

    words: int
    """How often the rank has reported; a count that stops growing means a frozen process."""
    step: int
    where: str
    still: float
    """Seconds that the main thread has been at this place, without work for the CPU."""
    waits: bool
    """Inside a call that may wait for other ranks or for the device."""
    silent: float = 0.0
    """Seconds since its last report, as the rank that asks has seen it."""


class Watch:
    """A thread in each rank that looks where the main thread is.

    A rank at work is not long in one place at one step, or else computes there: a call of FAISS may
    take long, and a loop is always seen where it lets other threads run. So a rank stands still
    that is in one place and uses no CPU, or that waits. A rank that has waited for `minutes` ends
    the run, and only if another has stood still as long or answers no more. A lone process waits
    for none and is not watched.

    The ranks report to each other through a store of rank 0's own: the process group is what hangs.
    """

    def __init__(self, ranks: Ranks, minutes: float, exits: bool = True) -> None:
        self._ranks, self._seconds, self._exits = ranks, minutes * 60, exits
        self._look = min(SECONDS_BETWEEN_LOOKS, self._seconds / 100)
        self._step = self._words = 0
        self._done = threading.Event()
        self.before_exit: Callable[[str], None] | None = None
        """Is told why this process is about to be ended."""
        self._main = threading.get_ident()
        self._looked = time.monotonic()
        self._heard: dict[int, tuple[int, float]] = {}
        """For each rank: its count of reports, and the time at which that count was first seen."""
        self._thread: threading.Thread | None = None
        if ranks.world > 1:
            self._board = board(ranks, patience=max(10.0, self._seconds / 10))
            self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def step(self, step: int) -> None:
        """The main thread has come to a step."""
        self._step = step

    def _watch(self) -> None:
        place, since, looks = None, time.monotonic(), 0
        load = Load()
        while not self._done.wait(self._look):
            frames = _stack(sys._current_frames().get(self._main))
            here = (self._step, [(frame.f_code, frame.f_lasti) for frame in frames])
            now = time.monotonic()
            if here != place or self._was_suspended(now):
                place, since = here, now
            if looks % LOOKS_BETWEEN_WORDS == 0:
                waits = may_wait(frames, self._ranks.device.type)
                if load.share() > AT_WORK and not waits:  # a waiting process may spin
                    since = now
                own = RankStatus(self._words, self._step, _where(frames), now - since, waits)
                self._report(own)
                self._check(own)
            looks += 1

    def _was_suspended(self, now: float) -> bool:
        """Whether this process did not run for a while: then its main thread did not either."""
        before, self._looked = self._looked, now
        return now - before > self._look * LOOKS_BETWEEN_WORDS

    def _report(self, own: RankStatus) -> None:
        self._words += 1
        with suppress(RuntimeError):  # losing rank 0 matters only once this rank waits
            self._board.write(str(self._ranks.rank), json.dumps(asdict(own)))

    def _check(self, own: RankStatus) -> None:
        """End the run if this rank has waited too long for nothing."""
        if not own.waits or own.still < self._seconds / 2:
            self._heard.clear()
            return
        statuses = self._read_all()
        late = own.still > self._seconds
        if statuses is None and late:
            self._end(UNREACHABLE)
        if statuses is None or not late:
            return
        named, what = ranks_at_fault(statuses, self._ranks.rank, self._seconds)
        if not named:
            return
        listing = "\n  ".join(
            f"rank {rank}: step {said.step + 1}, at {said.where}" for rank, said in statuses.items()
        )
        self._end(
            f"no progress for {self._seconds / 60:.3g} minutes (train.hang_minutes): "
            f"{'rank' if len(named) == 1 else 'one of ranks'} {', '.join(map(str, named))} {what}\n"
            f"  {listing}"
        )

    def _read_all(self) -> "dict[int, RankStatus] | None":
        """The last report of every rank, with its age; None if rank 0 is gone."""
        keys = [str(rank) for rank in range(self._ranks.world)]
        try:
            statuses = [RankStatus(**json.loads(word)) for word in self._board.read(keys)]
        except (RuntimeError, TimeoutError):
            return None
        finally:
            self._looked = time.monotonic()  # this thread waited: the process was not suspended
        for rank, said in enumerate(statuses):
            if self._heard.get(rank, (-1, 0.0))[0] != said.words:
                self._heard[rank] = said.words, self._looked
        return {
            rank: replace(said, silent=self._looked - self._heard[rank][1])
            for rank, said in enumerate(statuses)
        }

    def _end(self, why: str) -> None:
        """End this process for its blocked main thread; the first rank reports first."""
        if self._ranks.rank:
            self._done.wait(self._look * LOOKS_BETWEEN_WORDS)
        if not self._done.is_set():
            print(
                f"hybrid_dist (rank {self._ranks.rank}): error: {why}", file=sys.stderr, flush=True
            )
            if self._exits:
                if self.before_exit is not None:
                    self.before_exit(why)
                os._exit(1)
            self._done.set()


class Load:
    """How much of a CPU core this process uses."""

    def __init__(self) -> None:
        self._now = time.monotonic(), time.process_time()

    def share(self) -> float:
        """Since the last call."""
        before, self._now = self._now, (time.monotonic(), time.process_time())
        return (self._now[1] - before[1]) / max(self._now[0] - before[0], 1e-3)


def ranks_at_fault(
    statuses: Mapping[int, RankStatus], own: int, seconds: float
) -> tuple[list[int], str]:
    """The ranks that rank `own` waits for in vain; none if the awaited rank is working."""
    others = {rank: said for rank, said in statuses.items() if rank != own}
    frozen = [rank for rank, said in others.items() if said.silent > max(SILENCE, seconds / 3)]
    if frozen:
        return frozen, "does not answer"
    busy = {rank: said for rank, said in others.items() if not said.waits}
    if busy:
        return [rank for rank, said in busy.items() if said.still > seconds], "stands still"
    if all(said.still > seconds for said in others.values()):  # each waits for another
        return list(statuses), "stands still"
    return [], ""


class StatusBoard:
    """A store in rank 0's process that all ranks write to and read.

    A thread of its own talks to it: the store of a frozen process never answers.
    """

    def __init__(self, store: TCPStore, patience: float) -> None:
        self._store, self._patience = store, patience
        self._queries = SimpleQueue[tuple[Future[Any], Callable[[], Any]]]()
        self._written: Future[None] | None = None
        threading.Thread(target=self._serve, name="board", daemon=True).start()

    def write(self, key: str, word: str) -> None:
        """Send a report, unless the one before is still on its way."""
        if self._written is None or self._written.done():
            before, self._written = self._written, self._ask(lambda: self._store.set(key, word))
            if before is not None:
                before.result()

    def read(self, keys: Sequence[str]) -> list[bytes]:
        """What was written last under each key."""
        answer: Future[list[bytes]] = self._ask(lambda: [self._store.get(key) for key in keys])
        return answer.result(self._patience * 2)

    def _ask(self, query: Callable[[], Any]) -> Future[Any]:
        answer = Future[Any]()
        self._queries.put((answer, query))
        return answer

    def _serve(self) -> None:
        while True:
            answer, query = self._queries.get()
            try:
                answer.set_result(query())
            except RuntimeError as error:
                answer.set_exception(error)


def board(ranks: Ranks, patience: float) -> StatusBoard:
    """At a free port of rank 0's machine."""
    host, time_limit = os.environ.get("MASTER_ADDR", "127.0.0.1"), timedelta(seconds=patience)
    if ranks.is_first:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=time_limit)
        ranks.broadcast_from_first(store.port)
    else:
        store = TCPStore(
            host, ranks.broadcast_from_first(None), is_master=False, timeout=time_limit
        )
    return StatusBoard(store, patience)


def _stack(frame: FrameType | None) -> list[FrameType]:
    """The frames of a thread, the innermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _where(frames: list[FrameType]) -> str:
    """The innermost line of ours, and the innermost function of all."""
    ours = [frame for frame in frames if PACKAGE in Path(frame.f_code.co_filename).parents]
    if not ours:
        return "its end"
    line = f"{Path(ours[0].f_code.co_filename).relative_to(PACKAGE)}:{ours[0].f_lineno}"
    return f"{line} ({frames[0].f_code.co_qualname})"


def may_wait(frames: list[FrameType], device_type: str) -> bool:
    """Whether the main thread may be waiting for other ranks: in PyTorch or in our collectives.

    On a GPU it also waits wherever it gives the device work or asks for a result, and the device in
    turn for the others' devices.
    """
    if not frames:
        return False
    file = Path(frames[0].f_code.co_filename)
    places = (TORCH, *COLLECTIVES, *(DEVICE_WORK if device_type == "cuda" else ()))
    return any(place == file or place in file.parents for place in places)
