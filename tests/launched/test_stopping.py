"""A signal to one of several processes, in the middle of work that it has for itself."""

import os
import signal
from pathlib import Path

from hybrid_dist.demo.toy import ToyOptions, generate
from tests.support.launch import launch_command, running, train, train_command, wait_for
from tests.support.runs import metrics, options, succeed

FORWARDED = {"PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGUSR2", "PET_SHUTDOWN_TIMEOUT": "60"}


def test_an_evaluation_is_left_on_all_ranks_and_made_up_for(toy: Path, tmp_path: Path) -> None:
    task = tmp_path / "task"
    generate(
        task,
        ToyOptions(languages=4, train_uids=20, dev_uids=10, test_uids=600, hidden=32, heads=2),
    )
    changed = {"train__steps": "6", "eval__every": "3", "eval__tasks": f"toy:{task}"}
    args = options(toy, tmp_path, "run", **changed)
    with running(train_command(args, "cpu", 2), **FORWARDED) as started:
        wait_for((tmp_path / "run/model.candidate/config.json").exists)
        os.kill(started.workers()[1], signal.SIGUSR2)
        done = succeed(started.end())
    assert "the evaluation of step 3 is left to the next start" in done.output, done.output
    assert (tmp_path / "run/interrupted").exists()
    assert (tmp_path / "run/evaluation_due.json").exists()
    assert [record["step"] for record in metrics(tmp_path, "run")] == [1, 2]
    assert not (tmp_path / "run/model.candidate").exists()
    succeed(train(args, "cpu", 2))
    records = metrics(tmp_path, "run")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert all("train/loss" in record for record in records)
    assert ["eval/best" in record for record in records] == [False, False, True] * 2
    assert not (tmp_path / "run/evaluation_due.json").exists()

    words = [
        "--model",
        str(tmp_path / "run"),
        "--task",
        f"toy:{task}",
        "--out",
        str(tmp_path / "out"),
    ]
    module = ["-m", "hybrid_dist.evaluate", *words, "--cache", str(tmp_path / "cache")]
    with running(launch_command("cpu", 2, module), **FORWARDED) as started:
        wait_for(lambda: list((tmp_path / "cache").glob("*/passages.npy")))
        os.kill(started.workers()[1], signal.SIGUSR2)
        done = started.end()
    assert done.code != 0 and "hybrid_dist.evaluate: stopped by SIGUSR2" in done.output, done.output
    assert not (tmp_path / "out").exists()
