"""The terminal output of a run: a live line, plain lines, warnings by rank, `hybrid-dist watch`."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.launch import (
    ROOT,
    TORCHRUN,
    kill,
    run,
    script,
    start,
    start_forked,
    train_command,
    wait_for,
)
from tests.support.runs import options

SCRIPT = script("warned")
WATCH = [sys.executable, "-m", "hybrid_dist", "watch"]


def on_a_terminal(command: list[str]) -> str:
    """What a command shows when its output is a terminal, with its codes."""
    terminal, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "140", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # when the command has closed its side
        while part := os.read(terminal, 1 << 16):
            shown += part
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


def test_warnings_of_any_rank_bear_its_number() -> None:
    done = run([*TORCHRUN, "2", *SCRIPT])
    assert done.code == 0, done.output
    for rank in (0, 1):
        for message in ("UserWarning: the moon is full", "2 tides", "high water"):
            assert len(re.findall(f"rank {rank}: {message}", done.output)) == 1, done.output
    assert "rank 1: 100% of the sea" in done.output
    assert "nothing" not in done.output


def test_a_terminal_has_a_live_line(toy: Path, tmp_path: Path) -> None:
    shown = on_a_terminal(train_command(options(toy, tmp_path, "run", train__steps="40")))
    lines = [line for line in re.split(r"[\r\n]+", plain(shown)) if "/40" in line]
    figures = r"run .* \d+/40 loss \d\.\d+  (monolingual|cross_lingual)  \d+ pairs/s  [\d.]+ GiB"
    assert any(re.search(figures + r" \d:\d\d:\d\d", line) for line in lines), shown
    assert "step 40/40" not in plain(shown), "that is for files"


def test_plain_lines_go_to_a_file_and_the_run_can_be_watched(toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run", train__steps="120")
    training = start_forked(train_command(args))
    folder = tmp_path / "run"
    wait_for((folder / "metrics.jsonl").exists)
    watched = run([*WATCH, str(folder), "--follow"])
    output, _ = training.communicate()
    assert training.returncode == 0, output
    assert re.search(r"run: step 120/120  loss [\d.]+.*pairs/s", output)
    assert "\x1b" not in output
    first, *rest = watched.output.splitlines()
    assert first.startswith("run: running, step ")
    followed = [int(line.split()[1]) for line in rest if line.startswith("step ")]
    assert followed == list(range(followed[0], 121)), "every record once"
    assert rest[-1] == "run: finished, step 120 of 120"


def test_a_stopped_or_killed_run_is_reported_as_such(toy: Path, tmp_path: Path) -> None:
    args = options(toy, tmp_path, "run", train__steps="5000")
    folder = tmp_path / "run"

    def state() -> str:
        return run([*WATCH, str(folder)]).output.splitlines()[0]

    training = start_forked(train_command(args))
    wait_for((folder / "metrics.jsonl").exists)
    (folder / "STOP").touch()
    training.communicate()
    assert state().startswith("run: interrupted, step ")
    stopped = len((folder / "metrics.jsonl").read_text().splitlines())
    training = start(train_command(args))
    wait_for(lambda: len((folder / "metrics.jsonl").read_text().splitlines()) > stopped)
    assert state().startswith("run: running, step ")
    kill(training)
    training.communicate()
    for name in ("metrics.jsonl", "environment.json"):
        os.utime(folder / name, (0, 0))
    assert state().startswith("run: failed, step ")
