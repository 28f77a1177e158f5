"""Where ranks tell each other what they do, beside the process group, which is what hangs."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hybrid_dist.runtime.ranks import Ranks


@dataclass(frozen=True)
class RankStatus:
    """Where a rank's main thread is."""

    words: int
    """How often the rank has reported; a count that stops growing means a frozen process."""
    phase: str
    step: int
    where: str
    still: float
    """Seconds that the main thread has been at this place, without work for the CPU."""
    limit: float
    """Seconds for which it may be."""
    waits: bool
    """Inside a call that may wait for other ranks or for the device."""
    node: str = ""
    silent: float = 0.0
    """Seconds since its last report, as the rank that asks has seen it."""


class StatusBoard:
    """A store in rank 0's process that all ranks write to and read.

    A thread of its own talks to it: the store of a frozen process never answers.
    """

    def __init__(self, store: TCPStore, patience: float) -> None:
        self._store, self._patience = store, patience
        self._queries = SimpleQueue[tuple[Future[Any], Callable[[], Any]]]()
        self._written: Future[None] | None = None
        threading.Thread(target=self._serve, name="board", daemon=True).start()

    def report(self, key: str, word: str) -> None:
        """Send a word, unless the one before is still on its way."""
        if self._written is None or self._written.done():
            before, self._written = self._written, self._ask(lambda: self._store.set(key, word))
            if before is not None:
                before.result()

    def put(self, key: str, word: str) -> None:
        """Write a word, and wait until it is there."""
        self._answer(lambda: self._store.set(key, word))

    def read(self, keys: Sequence[str]) -> list[bytes]:
        """What was written last under each key, which has to be there."""
        words: list[bytes] = self._answer(lambda: [self._store.get(key) for key in keys])
        return words

    def has(self, key: str) -> bool:
        """Whether anything was written under a key."""
        return bool(self._answer(lambda: self._store.check([key])))

    def is_first_to(self, key: str) -> bool:
        """Whether no rank has called this for the key before."""
        return bool(self._answer(lambda: self._store.add(key, 1)) == 1)

    def _answer(self, query: Callable[[], Any]) -> Any:
        return self._ask(query).result(self._patience * 2)

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
    """At a free port of rank 0's machine. All ranks call it together."""
    return StatusBoard(shared_store(ranks, timedelta(seconds=patience)), patience)


def shared_store(ranks: Ranks, patience: timedelta) -> TCPStore:
    """A store at a free port of rank 0's machine, which waits so long for an answer or for a key.
    All ranks call it together."""
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    if ranks.is_first:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=patience)
        ranks.broadcast_from_first(store.port)
        return store
    port = ranks.broadcast_from_first(None)
    return TCPStore(host, port, is_master=False, timeout=patience)
