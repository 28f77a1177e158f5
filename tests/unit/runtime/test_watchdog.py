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

from hybrid_dist.config.schema import HangMinutes
from hybrid_dist.runtime.hang_report import HangReport
from hybrid_dist.runtime.main_thread import COLLECTIVES, DEVICE_WORK, may_wait
from hybrid_dist.runtime.progress_bar import part, parts_done
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.status_board import RankStatus
from hybrid_dist.runtime.watchdog import Watch, ranks_at_fault


def standing(still: float, waits: bool, silent: float = 0.0, limit: float = 60.0) -> RankStatus:
    return RankStatus(3, "step", 7, "there", still, limit, waits, "node1", silent)


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
        (standing(70, waits=False, limit=1200), []),
        (standing(0, waits=False, limit=1200, silent=25), [1]),
        (standing(70, waits=False, limit=10), [1]),
    ],
    ids=[
        "one call for too long",
        "one call",
        "at work",
        "both wait for long",
        "has just come to wait",
        "frozen",
        "late with its report",
        "saving, which may take longer",
        "frozen, since it began to save",
        "in a phase that may take less time",
    ],
)
def test_a_rank_waits_on_while_the_other_is_at_work(other: RankStatus, named: list[int]) -> None:
    assert ranks_at_fault({0: WAITING, 1: other}, 0)[0] == named


def test_of_many_ranks_the_one_without_progress_is_named() -> None:
    found = {0: WAITING, 1: standing(70, waits=False), 2: WAITING, 3: WAITING}
    assert ranks_at_fault(found, 2) == ([1], "stands still")


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


def test_a_lone_process_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[int]()
    monkeypatch.setattr(os, "_exit", ended.append)
    with Watch(Ranks(), HangMinutes(step=0.05 / 60), tmp_path) as watch:
        assert "watch" not in {thread.name for thread in threading.enumerate()}
        watch.step(3)
        time.sleep(0.5)
    assert not ended


def test_each_phase_has_its_limit_and_long_steps_have_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = Watch(Ranks(), HangMinutes(start=3, evaluation=7), tmp_path)
    assert watch._limit == 180, "until the first step is done"
    watch.step(1)
    assert watch._limit == 120
    now[0] = 10
    watch.step(2)
    with watch.phase("evaluation"):
        assert watch._limit == 420
        now[0] = 500
    assert watch._limit == 120
    watch.step(3)
    assert watch._limit == 120, "an evaluation is no step"
    now[0] = 540
    watch.step(4)
    assert watch._limit == 5 * 40
    watch.begin("end")
    assert watch._limit == 1200


def test_parts_that_are_done_are_counted_shown_or_not() -> None:
    before = parts_done()
    with part("texts", 10) as advance:
        advance(3)
        advance(4)
    assert parts_done() == before + 7


def test_stacks_are_written_to_the_run_folder_and_empty_files_are_removed(tmp_path: Path) -> None:
    report = HangReport(tmp_path / "run", 1)
    report.arm(0.1)  # there is no run folder yet
    (tmp_path / "run").mkdir()
    report.arm(60)
    file = tmp_path / "run/hang/rank-1.txt"
    assert file.read_text() == ""
    report.close()
    assert not list((tmp_path / "run").iterdir())
    report = HangReport(tmp_path / "run", 1)
    report.write("step 3, at there")
    report.close()
    assert "rank 1: step 3, at there" in file.read_text()
    assert "in test_stacks_are_written_to_the_run_folder" in file.read_text()


def test_stacks_are_written_while_a_call_holds_the_interpreters_lock(tmp_path: Path) -> None:
    report = HangReport(tmp_path, 0)
    report.arm(0.2)
    sum(range(30_000_000))  # about a second, in which no other thread runs Python
    report.close()
    assert "in test_stacks_are_written_while_a_call" in (tmp_path / "hang/rank-0.txt").read_text()


def test_the_files_in_which_a_rank_may_wait_exist() -> None:
    for place in (*COLLECTIVES, *DEVICE_WORK):
        assert place.exists(), place
