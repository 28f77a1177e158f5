"""What goes wrong while people are away: each fault ends as it should, in bounded time, and leaves
no process behind."""

import json
import os
import pickle
import random
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.training.checkpoint.manager import damage
from hybrid_dist.training.checkpoint.manifest import latest_step
from tests.support.launch import (
    is_running,
    kill,
    launch_command,
    run,
    running,
    running_forked,
    script,
    train,
    train_command,
    wait_for,
)
from tests.support.patience import Patience
from tests.support.runs import column, ended, metrics, options, succeed
from tests.support.wandb_files import offline_runs

FAULTY = script("faulty")
FORWARDED = {
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2",
    "PET_SHUTDOWN_TIMEOUT": "60",
}
"""What launchers/README.md says a launcher needs to pass signals on."""
DROPOUT = {"model__dropout": "0.1", "model__attention_dropout": "0.1"}


def faulty(fault: str, args: list[str], launcher: str = "cpu", processes: int = 2) -> list[str]:
    """Training in which `KIND RANK STEPS` happens; one process needs no launcher."""
    if processes == 1:
        return [sys.executable, *FAULTY, *fault.split(), "--", *args]
    return launch_command(launcher, processes, [*FAULTY, *fault.split(), "--", *args])


def lines(runs: Path, name: str) -> int:
    file = runs / name / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def latest(runs: Path, name: str) -> int:
    """The step of the last checkpoint."""
    step = latest_step(runs / name / "checkpoints")
    assert step is not None
    return step


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process hears a signal, and is not ended by it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def marker(runs: Path, name: str) -> Any:
    file = runs / name / "interrupted"
    return json.loads(file.read_text()) if file.exists() else None


def assert_same_curve(runs: Path, one: str, other: str, steps: int) -> None:
    assert list(column(runs, one, "step")) == list(range(1, steps + 1))
    for key in ("train/loss", "train/grad_norm"):
        assert column(runs, one, key).tolist() == column(runs, other, key).tolist()


@pytest.mark.parametrize(
    "number", [signal.SIGUSR2, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_signal_to_the_launcher_saves_and_marks_the_run(
    number: signal.Signals, toy: Path, tmp_path: Path
) -> None:
    args = options(toy, tmp_path, "run", **DROPOUT, train__steps="3000")
    with running(train_command(args, "cpu", 2), **FORWARDED) as started:
        wait_for(lambda: lines(tmp_path, "run") >= 5)
        started.workers()
        started.process.send_signal(number)
        done = started.end()
    assert f"stopped by {number.name}" in done.output, done.output
    step = lines(tmp_path, "run")
    assert marker(tmp_path, "run") == {"step": step, "reason": number.name}
    stopped = {"kind": "stopped", "rank": 0, "step": step, "message": number.name}
    assert ended(tmp_path, "run") == stopped
    assert latest(tmp_path, "run") == step
    assert not list((tmp_path / "run/checkpoints").glob("*.tmp"))


def test_a_signal_is_handled_while_the_program_is_being_imported(toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run", train__steps="3000")
    with running(train_command(args)) as started:
        wait_for(lambda: handles(started.process.pid, signal.SIGUSR2))
        imported = "torch" in Path(f"/proc/{started.process.pid}/maps").read_text()
        started.process.send_signal(signal.SIGUSR2)
        done = succeed(started.end())
    assert not imported, "the signal came too late to tell"
    assert marker(tmp_path, "run") == {"step": 1, "reason": "SIGUSR2"}, done.output


def test_one_process_stops_by_signal_and_by_file_and_resumes_exactly(
    toy: Path, tmp_path: Path
) -> None:
    """kill -USR2, then SAVE and STOP, then to the end: the curve is the uninterrupted one."""
    changed = DROPOUT | {"eval__every": "25", "optim__schedule": "constant"}
    changed["data__dev"] = str(toy / "dev.jsonl")
    args = options(toy, tmp_path, "parts", **changed, train__steps="3000")
    with running(train_command(args)) as started:
        wait_for(lambda: lines(tmp_path, "parts") >= 3)
        started.process.send_signal(signal.SIGUSR2)
        done = succeed(started.end())
    first = marker(tmp_path, "parts")
    assert first["reason"] == "SIGUSR2" and first["step"] == latest(tmp_path, "parts"), done.output
    with running_forked(train_command(args)) as started:
        wait_for(lambda: lines(tmp_path, "parts") > first["step"])
        assert marker(tmp_path, "parts") is None, "it goes on"
        (tmp_path / "parts" / "SAVE").touch()
        wait_for(lambda: latest(tmp_path, "parts") > first["step"])
        (tmp_path / "parts" / "STOP").touch()
        succeed(started.end())
    second = marker(tmp_path, "parts")
    assert second == {"step": lines(tmp_path, "parts"), "reason": "STOP"}
    assert not any((tmp_path / "parts" / name).exists() for name in ("STOP", "SAVE"))
    changed["train__steps"] = str(second["step"] + 5)
    for name in ("parts", "whole"):
        succeed(train(options(toy, tmp_path, name, **changed)))
        assert marker(tmp_path, name) is None
    assert_same_curve(tmp_path, "parts", "whole", second["step"] + 5)
    for record in metrics(tmp_path, "whole")[:-1]:
        assert ("dev/loss" in record) == (record["step"] % 25 == 0)


def test_a_second_keystroke_stops_at_once(toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run", train__steps="3000")
    with running(faulty("sleep 0 3", args, processes=1)) as started:
        wait_for(lambda: lines(tmp_path, "run") >= 2)
        time.sleep(1)
        worker = started.process.pid
        os.kill(worker, signal.SIGINT)
        time.sleep(1.5)
        os.kill(worker, signal.SIGINT)
        wait_for(lambda: not is_running(worker))
        assert "stopped at once" in started.end().output


def test_a_rank_that_is_killed_ends_the_run_and_is_named(toy: Path, tmp_path: Path) -> None:
    changed = {"train__steps": "3000", "checkpoint__every": "5", "checkpoint__keep": "9999"}
    args = options(toy, tmp_path, "run", **changed)
    with running(train_command(args, "cpu", 2)) as started:
        wait_for((tmp_path / "run/checkpoints/latest").exists)
        os.kill(started.workers()[1], signal.SIGKILL)
        done = started.end()
    assert done.code != 0
    assert "rank      : 1 (local_rank: 1)\n  exitcode  : -9" in done.output, done.output
    assert damage(tmp_path / f"run/checkpoints/step-{latest(tmp_path, 'run'):06d}") is None
    assert marker(tmp_path, "run") is None
    ending = ended(tmp_path, "run")
    assert (ending["kind"], ending["rank"]) == ("crash", None), "the other has only lost it"


HANG = {"hang_minutes__step": "0.08"}


@pytest.mark.parametrize(
    ("fault", "message", "minutes"),
    [
        ("sleep 1 3", "rank 1 stands still", HANG),
        pytest.param("sleep 0 3", "rank 0 stands still", HANG, marks=pytest.mark.long),
        pytest.param("sleep 1 3", "rank 1 stands still", {}, marks=pytest.mark.long),
        pytest.param("lock 1 3", "rank 1 does not answer", HANG, marks=pytest.mark.long),
        pytest.param("freeze 1 3", "rank 1 does not answer", HANG, marks=pytest.mark.long),
        pytest.param("freeze 0 3", "rank 0 cannot be reached", HANG, marks=pytest.mark.long),
    ],
)
def test_a_rank_that_hangs_is_named_in_bounded_time(
    fault: str, message: str, minutes: dict[str, str], toy: Path, tmp_path: Path
) -> None:
    """All stacks are in the run folder: that of a call which holds Python's lock, too."""
    changed = {"log__wandb": "offline", "log__alerts": "true", **minutes}
    args = options(toy, tmp_path, "run", **changed)
    with running(faulty(fault, args)) as started:
        wait_for(lambda: lines(tmp_path, "run") >= 2)
        bound = Patience(300)
        done = started.end()
    assert done.code != 0
    assert message in done.output, done.output
    assert not bound.is_over()
    hang = tmp_path / "run/hang"
    kind, rank, _ = fault.split()
    if kind in ("sleep", "lock"):
        assert "in faulty_update" in (hang / f"rank-{rank}.txt").read_text()
    if kind == "sleep":
        limit = "0.08" if minutes else "2"
        assert f"no progress for {limit} minutes (hang_minutes.step): {message}" in done.output
        assert re.search(r"the stack of rank .:\n(.*\n)*.*, in faulty_update\n", done.output)
        written = json.loads((hang / "hang.json").read_text())
        assert (written["phase"], written["ranks"]) == ("step", [int(rank)])
        assert len(written["nodes"]) == 1
    if message != "rank 0 cannot be reached":
        waiting = (hang / f"rank-{1 - int(rank)}.txt").read_text()
        assert re.search(r": step 3, at \S+:\d+ .* for \d+ s\n", waiting), waiting
        trace = (hang / f"flight_recorder_rank_{1 - int(rank)}").read_bytes()
        entries = pickle.loads(trace)["entries"]
        assert entries[-1]["state"] == "scheduled" and entries[-1]["profiling_name"], entries[-1]
    (recorded,) = offline_runs(tmp_path / "run")
    expected = [] if int(rank) == 0 else [message]
    assert [message for _, text in recorded.alerts if message in text] == expected
    ending = ended(tmp_path, "run")
    assert (ending["kind"], ending["rank"]) == ("hang", int(fault.split()[1]))


@pytest.mark.parametrize(
    ("fault", "processes"),
    [
        ("work 0 3", 2),
        pytest.param("parts 0 3", 2, marks=pytest.mark.long),
        pytest.param("call all 3", 2, marks=pytest.mark.long),
        pytest.param("call 0 3", 1, marks=pytest.mark.long),
        pytest.param("work 1 3", 2, marks=pytest.mark.long),
    ],
)
def test_a_rank_that_makes_progress_or_is_not_waited_for_ends_nothing(
    fault: str, processes: int, toy: Path, tmp_path: Path
) -> None:
    """Work of one rank alone is progress while its position changes, without use of the CPU."""
    args = options(toy, tmp_path, "run", **HANG, train__steps="4")
    succeed(run(faulty(fault, args, processes=processes)))
    assert lines(tmp_path, "run") == 4
    assert not (tmp_path / "run/hang").exists()


def test_the_slowest_rank_is_named_and_steps_of_all_are_traced(toy: Path, tmp_path: Path) -> None:
    steps = ",".join(map(str, range(1, 21)))
    args = options(toy, tmp_path, "run", train__steps="20", log__every="5")
    with running_forked(faulty(f"slow 1 {steps}", args)) as started:
        wait_for(lambda: lines(tmp_path, "run") >= 1)
        (tmp_path / "run/PROFILE").touch()
        done = succeed(started.end())
    for record in metrics(tmp_path, "run"):
        assert record["system/slowest_rank"] == 1, record
        assert record["system/rank_ms/1"] > record["system/rank_ms/0"]
    assert re.search(r"step 20/20 .*  rank 1 on \S+ is \d+% slower", done.output), done.output
    assert not (tmp_path / "run/PROFILE").exists()
    names = sorted(file.name for file in (tmp_path / "run/profile").iterdir())
    assert len(names) == 2 and names[0].replace("rank-0", "rank-1") == names[1], names
    first, last = (int(step) for step in names[0].split("-")[1:3])
    assert last == first + 2


def test_updates_that_are_not_finite_on_one_rank_are_skipped_on_all(
    toy: Path, tmp_path: Path
) -> None:
    args = options(toy, tmp_path, "run", train__steps="8", checkpoint__every="4")
    succeed(run(faulty("nan 1 3,4", args)))
    assert [record.get("train/skipped") for record in metrics(tmp_path, "run")] == [
        0, 0, 1, 2, 2, 2, 2, 2,
    ]  # fmt: skip
    assert ["train/loss" in record for record in metrics(tmp_path, "run")] == [
        True, True, False, False, True, True, True, True,
    ]  # fmt: skip
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").glob("step-*"))
    assert kept == ["step-000008"], "nothing is kept of a step whose numbers are not finite"


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["zero2", "zero3", "zero3-offload"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_deepspeed_skips_them_too(launcher: str, precision: str, toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run", train__steps="5", train__precision=precision)
    succeed(run(faulty("nan 1 3", args, launcher)))
    assert [record.get("train/skipped") for record in metrics(tmp_path, "run")] == [0, 0, 1, 1, 1]
    assert metrics(tmp_path, "run")[-1]["train/loss"] < 10


def test_many_such_updates_end_the_run_with_the_uids(toy: Path, tmp_path: Path) -> None:
    changed = {"log__wandb": "offline", "log__alerts": "true"}
    args = options(toy, tmp_path, "run", train__steps="50", checkpoint__every="5", **changed)
    steps = ",".join(map(str, range(8, 51)))
    done = run(faulty(f"nan 0 {steps}", args, processes=1))
    assert done.code != 0
    assert "is not finite at step 27 (its vectors are not on rank 0)" in done.output, done.output
    assert "20 updates in a row were skipped" in done.output
    report = json.loads((tmp_path / "run/not_finite.json").read_text())
    assert report["step"] == 27
    assert len(set(report["uids"])) == 17
    assert (ended(tmp_path, "run")["kind"], ended(tmp_path, "run")["step"]) == ("not finite", 27)
    assert latest(tmp_path, "run") == 5
    assert not (tmp_path / "run/model").exists()
    (recorded,) = offline_runs(tmp_path / "run")
    assert ["is not finite at step 27" in text for _, text in recorded.alerts] == [True]


def test_a_run_that_was_never_finite_ends_at_its_last_step_and_keeps_nothing(
    toy: Path, tmp_path: Path
) -> None:
    changed = {"train__steps": "6", "checkpoint__every": "3", "log__every": "0"}
    args = options(toy, tmp_path, "run", **changed)
    done = run(faulty("nan 0 1,2,3,4,5,6", args, processes=1))
    assert done.code == 2
    assert "the gradient is not finite at step 6" in done.output and "Traceback" not in done.output
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "model").exists()


def test_out_of_memory_suggests_a_chunk_size(toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run")
    done = run(faulty("memory 0 3", args, processes=1))
    assert done.code != 0
    assert "out of memory on rank 0 (cpu) at step 3, with 17 pairs in a chunk" in done.output
    assert (
        "set train.chunk_size to 8" in done.output
        and "Traceback" not in done.output.split("hybrid_dist.train: error")[0]
    )
    assert ended(tmp_path, "run")["kind"] == "out of memory"


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    toy: Path, tmp_path: Path
) -> None:
    """Training is four steps further by then; after resuming the curve is exact."""
    changed = DROPOUT | {"checkpoint__every": "5", "optim__schedule": "constant"}
    changed |= {"checkpoint__background": "always", "train__steps": "15"}
    args = options(toy, tmp_path, "killed", **changed)
    with running(faulty("disk 0 10", args, processes=1)) as started:
        wait_for(lambda: lines(tmp_path, "killed") >= 14)
        os.kill(started.process.pid, signal.SIGKILL)
        started.process.wait()
    assert latest(tmp_path, "killed") == 5
    assert (tmp_path / "killed/checkpoints/step-000010.tmp/exp_avg_sq.safetensors").is_file()
    for name in ("killed", "whole"):
        done = succeed(train(options(toy, tmp_path, name, **changed)))
        assert ("step-000005, step 5" in done.output) == (name == "killed")
    assert_same_curve(tmp_path, "killed", "whole", 15)


def has_more_lines(folder: Path, name: str, than: int) -> bool:
    return lines(folder, name) > than


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("background", ["always", "never"])
@pytest.mark.parametrize("launcher", ["cpu", "zero3"])
def test_many_kills_do_not_change_the_loss_curve(
    launcher: str, background: str, toy: Path, tmp_path: Path
) -> None:
    """kill -9 of all processes at 20 random moments: starting, training, saving."""
    changed = DROPOUT | {"checkpoint__every": "3", "optim__schedule": "constant"}
    changed["checkpoint__background"] = background
    args = options(toy, tmp_path, "storm", **changed, train__steps="9000")
    drafts, draw, saving = tmp_path / "storm/checkpoints", random.Random(5), 0
    for kill_number in range(20):
        with running(train_command(args, launcher, 2)) as started:
            before = lines(tmp_path, "storm")
            if kill_number % 4 == 0:
                time.sleep(10 * draw.random())
            else:
                wait_for(partial(has_more_lines, tmp_path, "storm", before))
                time.sleep(draw.random())
            if kill_number % 2:
                wait_for(lambda: any(drafts.glob("step-*.tmp")))
            started.workers()
            kill(started.process)
            started.process.wait()
            wait_for(lambda: not started.left())
        saving += any(drafts.glob("step-*.tmp"))
    assert saving > 3
    changed["train__steps"] = str(lines(tmp_path, "storm") + 5)
    for name in ("storm", "calm"):
        succeed(train(options(toy, tmp_path, name, **changed), launcher, 2))
    assert_same_curve(tmp_path, "storm", "calm", int(changed["train__steps"]))
