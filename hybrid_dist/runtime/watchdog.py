"""Ends a run in which one rank waits for another that hangs, and names the hanging one."""

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from hybrid_dist.config.schema import HangMinutes
from hybrid_dist.runtime.files import write_atomically
from hybrid_dist.runtime.hang_report import FOLDER, HangReport
from hybrid_dist.runtime.main_thread import Load, may_wait, place_of, stack_of
from hybrid_dist.runtime.progress_bar import parts_done
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.status_board import RankStatus, board

SECONDS_BETWEEN_LOOKS = 0.25
LOOKS_BETWEEN_WORDS = 20
AT_WORK = 0.1
"""Share of a CPU core above which a process counts as computing; a hanging one uses almost none."""
SILENCE = 10.0
"""Seconds for which a busy machine may delay a report."""
SECONDS_FOR_REPORTS = 15.0
"""How long the rank that ends a run waits for what the others write."""
STEPS_OF_PATIENCE, RECENT_STEPS = 5, 8
"""A step may take so many times as long as the longest of the last ones, whatever its limit."""
UNREACHABLE = "rank 0 cannot be reached: its process or its node is gone or frozen"
HANG, STACK, REPORTER = "hang", "stack/", "reporter"
"""Keys of the board: set once a rank has found a hang; the stacks of ranks' main threads; counts
ranks that want to report it."""

BeforeExit = Callable[[Sequence[int], str], None]
"""Told of the ranks that are waited for, and why the process is about to be ended."""


class Watch:
    """A thread in each rank that looks where the main thread is.

    A rank at work is not long in one place at one step, or else computes there: a call of FAISS may
    take long, and a loop is always seen where it lets other threads run. So a rank stands still
    that is in one place and uses no CPU, or that waits. A rank that has waited for the minutes of
    its phase ends the run, and only if another has stood still as long or answers no more. A lone
    process waits for none and is not watched.

    The ranks report to each other through a store of rank 0's own: the process group is what hangs.
    Before the run ends, every rank that still can writes its stacks to RUN/hang/.
    """

    def __init__(
        self,
        ranks: Ranks,
        minutes: HangMinutes,
        run_folder: Path,
        exits: bool = True,
        before_exit: Sequence[BeforeExit] = (),
        setting: str = "",
    ) -> None:
        """`setting`: the option that sets all limits; empty: the keys of `hang_minutes`."""
        self._ranks, self._exits, self._setting = ranks, exits, setting
        self.before_exit = [*before_exit]
        self._limits = {phase: 60 * limit for phase, limit in asdict(minutes).items()}
        shortest = min(self._limits.values())
        self._look = min(SECONDS_BETWEEN_LOOKS, shortest / 100)
        self._phase, self._step, self._words = "start", 0, 0
        self._step_began: float | None = None
        self._steps = deque[float](maxlen=RECENT_STEPS)
        """Seconds that the last steps took."""
        self._done = threading.Event()
        self._main = threading.get_ident()
        self._looked = time.monotonic()
        self._heard: dict[int, tuple[int, float]] = {}
        """For each rank: its count of reports, and the time at which that count was first seen."""
        self._has_reported = False
        self._thread: threading.Thread | None = None
        if ranks.world > 1:
            self._report_file = HangReport(run_folder, ranks.rank)
            self._board = board(ranks, patience=max(10.0, shortest / 10))
            self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._report_file.close()

    def step(self, step: int) -> None:
        """The main thread has finished a step; the first one is the end of the start."""
        now = time.monotonic()
        if self._step_began is not None:
            self._steps.append(now - self._step_began)
        if self._phase == "start" and self._thread is not None:
            self._arm()  # before that, ranks may not have agreed to use the run folder
        self._phase, self._step, self._step_began = "step", step, now

    def begin(self, phase: str) -> None:
        """The main thread has come to a phase, one of the keys of `hang_minutes`."""
        self._phase, self._step_began = phase, None

    @contextmanager
    def phase(self, phase: str) -> Iterator[None]:
        """A phase inside another one."""
        outer = self._phase
        self.begin(phase)
        yield
        self.begin(outer)

    @property
    def _limit(self) -> float:
        """Seconds for which a rank may stand still now."""
        limit = self._limits[self._phase]
        if self._phase == "step" and self._steps:
            limit = max(limit, STEPS_OF_PATIENCE * max(self._steps))
        return limit

    def _watch(self) -> None:
        place, since, looks = None, time.monotonic(), 0
        load, on_cpu = Load(), self._ranks.device.type == "cpu"
        while not self._done.wait(self._look):
            frames = stack_of(sys._current_frames().get(self._main))
            line = [(frame.f_code, frame.f_lasti) for frame in frames]
            here = (self._phase, self._step, parts_done(), line)
            now = time.monotonic()
            if here != place or self._was_suspended(now):
                place, since = here, now
            if looks % LOOKS_BETWEEN_WORDS == 0:
                waits = may_wait(frames, self._ranks.device.type)
                # a process may spin while it waits for a GPU; on CPUs a call of torch may be work
                if load.share() > AT_WORK and (on_cpu or not waits):
                    since = now
                own = self._status(frames, now - since, waits)
                self._report(own)
                self._check(own)
            looks += 1

    def _was_suspended(self, now: float) -> bool:
        """Whether this process did not run for a while: then its main thread did not either."""
        before, self._looked = self._looked, now
        return now - before > self._look * LOOKS_BETWEEN_WORDS

    def _status(self, frames: list[FrameType], still: float, waits: bool) -> RankStatus:
        self._words += 1
        where, node = place_of(frames), socket.gethostname()
        return RankStatus(
            self._words, self._phase, self._step, where, still, self._limit, waits, node
        )

    def _report(self, own: RankStatus) -> None:
        """Tell the others, and write this rank's stacks if one of them has found a hang."""
        if self._phase != "start":
            self._arm()
        with suppress(RuntimeError, TimeoutError):  # losing rank 0 matters only once this one waits
            self._board.report(str(self._ranks.rank), json.dumps(asdict(own)))
            if not self._has_reported and self._board.has(HANG):
                self._write_report(own)
        self._looked = time.monotonic()  # this thread waited: the process was not suspended

    def _arm(self) -> None:
        """Have the stacks written if this thread cannot run for as long as others wait for it."""
        self._report_file.arm(max(SILENCE, self._limits["step"] / 3))

    def _check(self, own: RankStatus) -> None:
        """End the run if this rank has waited too long for nothing."""
        if not own.waits or own.still < own.limit / 2:
            self._heard.clear()
            return
        statuses = self._read_all()
        late = own.still > own.limit
        if statuses is None and late:
            self._end(own, UNREACHABLE, {}, [0])
        if statuses is None or not late:
            return
        named, what = ranks_at_fault(statuses, self._ranks.rank)
        if named:
            who = f"{'rank' if len(named) == 1 else 'one of ranks'} {', '.join(map(str, named))}"
            minutes, key = own.limit / 60, self._setting or f"hang_minutes.{own.phase}"
            what = f"no progress for {minutes:.3g} minutes ({key}): {who} {what}"
            self._end(own, what, statuses, named)

    def _read_all(self) -> "dict[int, RankStatus] | None":
        """The last report of every rank, with its age; None if rank 0 is gone."""
        keys = [str(rank) for rank in range(self._ranks.world)]
        try:
            statuses = [RankStatus(**json.loads(word)) for word in self._board.read(keys)]
        except (RuntimeError, TimeoutError):
            return None
        finally:
            self._looked = time.monotonic()
        for rank, said in enumerate(statuses):
            if self._heard.get(rank, (-1, 0.0))[0] != said.words:
                self._heard[rank] = said.words, self._looked
        return {
            rank: replace(said, silent=self._looked - self._heard[rank][1])
            for rank, said in enumerate(statuses)
        }

    def _write_report(self, own: RankStatus) -> None:
        """Write the stacks to the run folder, and tell the others that of the main thread."""
        if self._has_reported:
            return
        self._has_reported = True
        stack = traceback.format_stack(sys._current_frames().get(self._main))
        self._report_file.write(f"{described(own)}, for {own.still:.0f} s")
        with suppress(RuntimeError, TimeoutError):
            self._board.put(f"{STACK}{self._ranks.rank}", "".join(stack))

    def _end(
        self, own: RankStatus, why: str, statuses: Mapping[int, RankStatus], named: list[int]
    ) -> None:
        """End this process for its blocked main thread, after every rank has written its stacks.

        One rank says why, and records it; the others follow it.
        """
        speaks = True
        with suppress(RuntimeError, TimeoutError):
            self._board.put(HANG, why)
            speaks = self._board.is_first_to(REPORTER)
        self._write_report(own)
        stacks = self._stacks(list(statuses)) if speaks else {}
        if not speaks:
            self._done.wait(SECONDS_FOR_REPORTS + self._look * LOOKS_BETWEEN_WORDS)
        if self._done.is_set():
            return
        if speaks:
            lines = [why, *(f"  rank {n}: {described(said)}" for n, said in statuses.items())]
            lines += [f"the stack of rank {n}:\n{stacks[n]}" for n in named[:1] if n in stacks]
            lines.append(f"all stacks: {self._report_file.folder}")
            message = "\n".join(lines)
            print(
                f"hybrid_dist (rank {self._ranks.rank}): error: {message}",
                file=sys.stderr,
                flush=True,
            )
            self._record(own, why, statuses, named)
        if self._exits:
            for tell in self.before_exit:
                tell(named, why)
            os._exit(1)
        self._done.set()

    def _stacks(self, ranks: list[int]) -> dict[int, str]:
        """The stacks of the main threads of those ranks that answer in time."""
        stacks: dict[int, str] = {}
        end = time.monotonic() + SECONDS_FOR_REPORTS
        while len(stacks) < len(ranks) and time.monotonic() < end:
            with suppress(RuntimeError, TimeoutError):
                for rank in ranks:
                    if rank not in stacks and self._board.has(f"{STACK}{rank}"):
                        stacks[rank] = self._board.read([f"{STACK}{rank}"])[0].decode()
            self._done.wait(self._look)
        return stacks

    def _record(
        self, own: RankStatus, why: str, statuses: Mapping[int, RankStatus], named: list[int]
    ) -> None:
        """RUN/hang/hang.json, for programs."""
        record = {
            "reason": why,
            "phase": own.phase,
            "step": own.step,
            "ranks": named,
            "nodes": sorted({statuses[rank].node for rank in named if rank in statuses}),
        }
        with suppress(OSError):
            write_atomically(self._report_file.folder / f"{FOLDER}.json", json.dumps(record) + "\n")


def ranks_at_fault(statuses: Mapping[int, RankStatus], own: int) -> tuple[list[int], str]:
    """The ranks that rank `own` waits for in vain; none if the awaited rank is working.

    Of a rank in another phase, the longer of both limits counts, but for its silence.
    """
    limit = {n: max(said.limit, statuses[own].limit) for n, said in statuses.items()}
    others = {rank: said for rank, said in statuses.items() if rank != own}
    patience = max(SILENCE, statuses[own].limit / 3)
    frozen = [rank for rank, said in others.items() if said.silent > patience]
    if frozen:
        return frozen, "does not answer"
    busy = {rank: said for rank, said in others.items() if not said.waits}
    if busy:
        return [rank for rank, said in busy.items() if said.still > limit[rank]], "stands still"
    if all(said.still > limit[rank] for rank, said in others.items()):  # each waits for another
        return list(statuses), "stands still"
    return [], ""


def described(said: RankStatus) -> str:
    """Where a rank is, in words."""
    place = f"step {said.step + 1}" if said.phase == "step" else f"{said.phase}, step {said.step}"
    node = f" on {said.node}" if said.node else ""
    return f"{place}, at {said.where}{node}"
