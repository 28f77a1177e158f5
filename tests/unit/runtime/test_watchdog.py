"""For which rank a waiting one ends the run, and when it keeps waiting."""

import os
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.watchdog import (
    COLLECTIVES,
    DEVICE_WORK,
    RankStatus,
    Watch,
    may_wait,
    ranks_at_fault,
)

SECONDS = 60.0


def standing(still: float, waits: bool, silent: float = 0.0) -> RankStatus:
    return RankStatus(words=3, step=7, where="there", still=still, waits=waits, silent=silent)


WAITING = standing(70, waits=True)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (standing(70, waits=False), [1]),
        (standing(50, waits=False), []),
        (standing(0, waits=False), []),
        (standing(70, waits=True), [0, 1]),
        (standing(50, waits=True), []),
        (standing(0, waits=False, silent=25), [1]),
        (standing(0, waits=False, silent=10), []),
    ],
    ids=[
        "one call for too long",
        "one call",
        "at work",
        "both wait for long",
        "has just come to wait",
        "frozen",
        "late with its report",
    ],
)
def test_a_rank_waits_on_while_the_other_is_at_work(other: RankStatus, named: list[int]) -> None:
    assert ranks_at_fault({0: WAITING, 1: other}, 0, SECONDS)[0] == named


def test_of_many_ranks_the_one_without_progress_is_named() -> None:
    found = {0: WAITING, 1: standing(70, waits=False), 2: WAITING, 3: WAITING}
    assert ranks_at_fault(found, 2, SECONDS) == ([1], "stands still")


def innermost(call: Any) -> list[FrameType]:
    """The frames of a thread that is inside a call."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    time.sleep(0.2)
    frame: FrameType | None = sys._current_frames()[thread.ident or 0]
    assert frame is not None
    return [frame]


def test_waiting_is_seen_by_where_the_main_thread_is(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = innermost(fifo.read_bytes)
    assert not may_wait(reading, "cpu") and not may_wait(reading, "cuda")
    store = TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=2)
    )

    def wait() -> None:
        with suppress(torch.distributed.DistStoreError):
            store.get("never")

    assert not may_wait(innermost(wait), "cpu"), "a test is no collective"
    fifo.open("w").close()
    code = compile("import time; time.sleep(0.5)", torch.__file__, "exec")
    assert may_wait(innermost(lambda: exec(code)), "cpu")


def test_a_lone_process_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[int]()
    monkeypatch.setattr(os, "_exit", ended.append)
    with Watch(Ranks(), minutes=0.05 / 60) as watch:
        assert "watch" not in {thread.name for thread in threading.enumerate()}
        watch.step(3)
        time.sleep(0.5)
    assert not ended


def test_the_files_in_which_a_rank_may_wait_exist() -> None:
    for place in (*COLLECTIVES, *DEVICE_WORK):
        assert place.exists(), place
