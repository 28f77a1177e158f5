"""Ends a run in which a rank stands still, and names it: the others would wait for it for ever."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hybrid_dist.cluster.ranks import Ranks

SECONDS_BETWEEN_LOOKS = 0.25
LOOKS_BETWEEN_WORDS = 20
UNREACHABLE = "rank 0 cannot be reached: its process or its node is gone or frozen"
PACKAGE, TORCH = Path(__file__).parents[1], Path(torch.__file__).parent


@dataclass(frozen=True)
class Standing:
    """Where a rank's main thread is."""

    words: int
    """How often the rank has said so; a number that stays means a process that is frozen."""
    step: int
    where: str
    waits: bool
    """Inside PyTorch, as ranks are that wait for another."""


class Watch:
    """A thread in each rank that looks where the main thread is.

    A main thread that works is not long in one place at one step, whether it trains, evaluates or
    saves. The ranks tell each other through a store of rank 0's own: the process group is what
    hangs.
    """

    def __init__(self, ranks: Ranks, minutes: float) -> None:
        self._ranks, self._seconds = ranks, minutes * 60
        self._look = min(SECONDS_BETWEEN_LOOKS, self._seconds / 100)
        self._step = self._words = 0
        self._done = threading.Event()
        self._main = threading.main_thread().ident or 0
        self._board = _board(ranks, patience=max(10.0, self._seconds / 10))
        self._looked = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join(timeout=5)

    def step(self, step: int) -> None:
        """The main thread has come to a step."""
        self._step = step

    def _watch(self) -> None:
        place, since, looks = None, time.monotonic(), 0
        while not self._done.wait(self._look):
            frames = _stack(sys._current_frames().get(self._main))
            here = (self._step, [(frame.f_code, frame.f_lasti) for frame in frames])
            now = time.monotonic()
            if here != place or self._was_suspended(now):
                place, since = here, now
            still = now - since
            if looks % LOOKS_BETWEEN_WORDS == 0:
                self._tell(frames)
            looks += 1
            if still > self._seconds:
                self._end(frames)

    def _was_suspended(self, now: float) -> bool:
        """Whether this process did not run for a while: then its main thread did not either."""
        before, self._looked = self._looked, now
        return now - before > self._look * LOOKS_BETWEEN_WORDS

    def _tell(self, frames: list[FrameType]) -> None:
        self._words += 1
        said = Standing(self._words, self._step, _where(frames), _is_in_torch(frames))
        if self._board is not None:
            try:
                self._board.write(str(self._ranks.rank), json.dumps(asdict(said)))
            except RuntimeError:
                self._leave(UNREACHABLE)

    def _end(self, frames: list[FrameType]) -> None:
        """The main thread stands still: find out on whom all wait."""
        before = self._all(frames)
        self._done.wait(self._look * LOOKS_BETWEEN_WORDS * 3)
        after = self._all(frames)
        frozen = [r for r, said in after.items() if r in before and said.words == before[r].words]
        frozen = [rank for rank in frozen if rank != self._ranks.rank]
        behind = [rank for rank, said in after.items() if not said.waits]
        named = frozen or behind or list(after)
        what = "does not answer" if frozen else "stands still"
        listing = "\n  ".join(
            f"rank {rank}: step {said.step + 1}, at {said.where}" for rank, said in after.items()
        )
        self._leave(
            f"no progress for {self._seconds / 60:.3g} minutes (train.hang_minutes): "
            f"{'rank' if len(named) == 1 else 'one of ranks'} {', '.join(map(str, named))} {what}\n"
            f"  {listing}"
        )

    def _all(self, frames: list[FrameType]) -> dict[int, Standing]:
        """What every rank said last."""
        self._tell(frames)
        if self._board is None:
            return {0: Standing(self._words, self._step, _where(frames), False)}
        keys = [str(rank) for rank in range(self._ranks.world)]
        try:
            words = self._board.read(keys)
        except (RuntimeError, TimeoutError):
            self._leave(UNREACHABLE)
            raise
        return {rank: Standing(**json.loads(word)) for rank, word in enumerate(words)}

    def _leave(self, why: str) -> None:
        """End this process, whose main thread cannot; the first rank has the word."""
        if self._ranks.rank:
            self._done.wait(self._look * LOOKS_BETWEEN_WORDS)
        if not self._done.is_set():
            print(
                f"hybrid_dist (rank {self._ranks.rank}): error: {why}", file=sys.stderr, flush=True
            )
            os._exit(1)


class Board:
    """A store in rank 0's process that all ranks write to and read.

    A thread asks it: where rank 0's process is frozen, it does not answer for ever.
    """

    def __init__(self, store: TCPStore, patience: float) -> None:
        self._store, self._patience = store, patience
        self._asked = SimpleQueue[tuple[Future[Any], Callable[[], Any]]]()
        self._written: Future[None] | None = None
        threading.Thread(target=self._serve, name="board", daemon=True).start()

    def write(self, key: str, word: str) -> None:
        """Leave a word, unless the one before is still on its way."""
        if self._written is not None:
            if not self._written.done():
                return
            self._written.result()
        self._written = self._ask(lambda: self._store.set(key, word))

    def read(self, keys: Sequence[str]) -> list[bytes]:
        """What was written last under each key."""
        asked: Future[list[bytes]] = self._ask(lambda: [self._store.get(key) for key in keys])
        return asked.result(self._patience * 2)

    def _ask(self, question: Callable[[], Any]) -> Future[Any]:
        answer = Future[Any]()
        self._asked.put((answer, question))
        return answer

    def _serve(self) -> None:
        while True:
            answer, question = self._asked.get()
            try:
                answer.set_result(question())
            except RuntimeError as error:
                answer.set_exception(error)


def _board(ranks: Ranks, patience: float) -> Board | None:
    """At a free port of rank 0's machine."""
    if ranks.world == 1:
        return None
    host, time_limit = os.environ.get("MASTER_ADDR", "127.0.0.1"), timedelta(seconds=patience)
    if ranks.is_first:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=time_limit)
        ranks.from_first(store.port)
    else:
        store = TCPStore(host, ranks.from_first(None), is_master=False, timeout=time_limit)
    return Board(store, patience)


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


def _is_in_torch(frames: list[FrameType]) -> bool:
    return bool(frames) and TORCH in Path(frames[0].f_code.co_filename).parents
