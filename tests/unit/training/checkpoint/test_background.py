"""Checkpoints that are written while training goes on: when they count, and what errors do."""

import threading
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.training.checkpoint import manager
from hybrid_dist.training.checkpoint.manager import Checkpoints, damage
from hybrid_dist.training.checkpoint.manifest import latest_step
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.checkpoint.state import Write
from tests.support.checkpoints import Files, checkpoints, names
from tests.support.patience import SECONDS


class Slow(Files):
    """Its last file is written when the disk is `free`, and then raises `error`, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.free, self.error = threading.Event(), error
        self.copied: bool | None = None

    def save(self, folder: Path, write: Write, copied: bool = False) -> None:
        self.copied = copied
        super().save(folder, write)
        write(self._wait)

    def _wait(self) -> None:
        assert self.free.wait(SECONDS)
        if self.error is not None:
            raise self.error


def in_background(folder: Path, state: Files, **more: Any) -> Checkpoints:
    return checkpoints(folder, state=state, background="always", **more)


def test_a_checkpoint_counts_once_all_of_it_is_on_disk(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(Progress(step=1))
    state = Slow()
    kept = in_background(tmp_path, state)
    kept.save(Progress(step=2))
    assert state.copied, "training may change the state before it is written"
    assert latest_step(tmp_path / "checkpoints") == 1
    assert checkpoints(tmp_path).find("auto") == tmp_path / "checkpoints/step-000001"
    state.free.set()
    kept.finish()
    assert latest_step(tmp_path / "checkpoints") == 2
    assert damage(tmp_path / "checkpoints/step-000002") is None
    assert names(tmp_path) == ["latest", "step-000001", "step-000002"]


def test_the_next_checkpoint_waits_for_the_one_in_flight(tmp_path: Path) -> None:
    state = Slow()
    kept = in_background(tmp_path, state)
    kept.save(Progress(step=1))
    second = threading.Thread(target=kept.save, args=(Progress(step=2),))
    second.start()
    second.join(0.2)
    assert second.is_alive(), "copies of the first would be overwritten"
    state.free.set()
    second.join()
    kept.finish()
    assert names(tmp_path) == ["latest", "step-000001", "step-000002"]


def test_a_failure_is_known_at_the_next_step_and_ends_the_run(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(Progress(step=1))
    state = Slow(OSError(28, "No space left on device"))
    kept = in_background(tmp_path, state)
    kept.save(Progress(step=2))
    at_first = kept.has_failed
    state.free.set()
    kept.close()
    assert (at_first, kept.has_failed) == (False, True)
    with pytest.raises(UserError, match=r"No space left on device.*last good one is .*step-000001"):
        kept.finish()
    assert names(tmp_path) == ["latest", "step-000001"]
    assert not kept.has_failed
    kept.finish()  # told once


def test_a_run_may_go_on_after_a_failure(tmp_path: Path) -> None:
    state, messages = Slow(OSError(28, "No space left on device")), list[str]()
    kept = in_background(tmp_path, state, on_failure="go_on", say=messages.append)
    state.free.set()
    kept.save(Progress(step=1))
    kept.close()  # the thread, which reads the error
    state.error = None
    kept.save(Progress(step=2))
    assert len(messages) == 1 and "No space left on device" in messages[0]
    kept.finish()
    assert names(tmp_path) == ["latest", "step-000002"]


def test_any_other_error_of_the_thread_ends_the_run_as_it_is(tmp_path: Path) -> None:
    state = Slow(ZeroDivisionError("a bug"))
    kept = in_background(tmp_path, state, on_failure="go_on")
    state.free.set()
    kept.save(Progress(step=1))
    kept.close()
    assert kept.has_failed
    with pytest.raises(ZeroDivisionError, match="a bug"):
        kept.finish()
    assert latest_step(tmp_path / "checkpoints") is None


@pytest.mark.parametrize(("free", "copied"), [(2000, True), (1999, False)])
def test_auto_needs_room_for_the_copy_twice_over(
    free: int, copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "free_memory", lambda: free)
    state, messages = Slow(), list[str]()
    state.free.set()
    kept = checkpoints(tmp_path, state=state, background="auto", say=messages.append)
    for step in (1, 2):
        kept.save(Progress(step=step))
    kept.finish()
    assert state.copied == copied
    expected = "training waits for checkpoints, since their copy takes 1.0 kB of the first rank"
    assert [expected in message for message in messages] == ([] if copied else [True])


@pytest.mark.parametrize("background", ["always", "never"])
def test_milestones_are_kept_and_drafts_of_killed_runs_are_not(
    background: str, tmp_path: Path
) -> None:
    kept = checkpoints(tmp_path, keep=1, keep_every=4, background=background)
    (tmp_path / "checkpoints/step-000003.tmp").mkdir(parents=True)
    for step in (2, 4, 6, 8, 10):
        kept.save(Progress(step=step, best_step=2))
    kept.finish()
    kept_steps = ["step-000002", "step-000004", "step-000008", "step-000010"]
    assert names(tmp_path) == ["latest", *kept_steps]
