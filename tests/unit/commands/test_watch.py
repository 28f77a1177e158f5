"""`hybrid-dist watch`: the status of a run's folder, also while it is being written."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hybrid_dist.commands import watch
from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.schema import Config, Data, Eval, Run, Train
from hybrid_dist.errors import UserError
from hybrid_dist.reporting.run_screen import screen
from hybrid_dist.reporting.run_status import FRESH, RunStatus
from hybrid_dist.tracking.report_json import SETTINGS
from hybrid_dist.training.run_folder import RunFolder
from tests.support.watched_run import record, run_config


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run of 100 steps that reached step 40 a while ago."""
    made = RunFolder(run_config(str(tmp_path)))
    made.write_description({})
    records = [record(4), record(20, **{"eval/toy/map.multilingual": 0.25}), record(40)]
    made.metrics.write_text("".join(json.dumps(r) + "\n" for r in records))
    age(made.path)
    return made


def age(path: Path) -> None:
    """Make all files old."""
    old = time.time() - 10 * FRESH
    for file in [f for f in path.rglob("*") if f.is_file()]:
        os.utime(file, (old, old))


def output_of(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    watch.main([str(path)])
    return capsys.readouterr().out


def test_a_run_that_holds_its_lock_is_running(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.hold()
    age(folder.path)
    assert output_of(folder.path, capsys).splitlines() == [
        "a run: running, step 40 of 100, 0:00:30 left",
        "train/loss: 4 1, 20 0.2, 40 0.1",
        "eval/toy/map.multilingual: 20 0.25",
        "batches: monolingual 30 75% loss 0.5, cross_lingual 10 25% ",
        "evaluation at step 20: eval/toy/map.multilingual 0.25",
        "speed: pairs/s 1,234, tokens/s 99,999, ms a step 500, waiting for data 0.5%, "
        "peak memory 2.5 GiB",
    ]


def test_a_run_that_wrote_a_moment_ago_is_running(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.metrics.touch()
    assert "a run: running" in output_of(folder.path, capsys)


def test_a_run_whose_process_is_gone_has_failed(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a run: failed, step 40 of 100 (its process is gone" in output_of(folder.path, capsys)
    folder.not_finite.write_text("{}")
    assert "train/loss was not finite (not_finite.json" in output_of(folder.path, capsys)


def test_a_run_that_was_stopped_is_interrupted(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mark_interrupted("STOP")
    assert "a run: interrupted, step 40 of 100" in output_of(folder.path, capsys)


def test_a_run_is_finished_when_its_last_report_is_there(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    report = folder.evaluation() / "toy" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text("{}")  # newer than the metrics: a run may end before its last step
    assert "a run: finished, step 40 of 100" in output_of(folder.path, capsys)
    folder.metrics.touch()  # it is resumed
    assert "a run: running" in output_of(folder.path, capsys)
    with folder.metrics.open("a") as lines:
        lines.write(json.dumps(record(100)) + "\n")
    age(folder.path)
    assert "a run: finished, step 100 of 100" in output_of(folder.path, capsys)


@pytest.mark.parametrize("torn", ['{"step": 60, "train/lo', '{"step": 60', "{", "\x00\x00", "7"])
def test_a_half_written_line_is_ignored(
    torn: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with folder.metrics.open("a") as lines:
        lines.write(torn)
    assert "step 40 of 100" in output_of(folder.path, capsys)


def rewritten(folder: RunFolder, **changes: Any) -> None:
    """The same run with another config."""
    config = replace(Config(data=Data(train=("a",)), train=Train(steps=100)), **changes)
    name = Run(dir=str(folder.path.parent), name=folder.path.name)
    (folder.path / "config.yaml").write_text(to_yaml(replace(config, run=name)))
    age(folder.path)


def test_the_loss_on_held_out_pairs_may_select_the_checkpoint_although_there_are_tasks(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(
        folder,
        data=Data(train=("a",), dev=("b",)),
        eval=Eval(tasks=("toy:somewhere",), metric="dev/loss"),
    )
    figures = {"eval/toy/map.multilingual": 0.5, "dev/loss": 0.75}
    with folder.metrics.open("a") as lines:
        lines.write(json.dumps(record(60, **figures)) + "\n")
    age(folder.path)
    shown = output_of(folder.path, capsys)
    assert "dev/loss: 60 0.75" in shown
    assert "evaluation at step 60: eval/toy/map.multilingual 0.5, dev/loss 0.75" in shown


def test_damaged_lines_are_reported_and_the_others_shown(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with folder.metrics.open("a") as lines:
        lines.write("[" * 10_000 + "\n" + '{"step": 1e3}\n' + json.dumps(record(60)) + "\n")
    age(folder.path)
    shown = output_of(folder.path, capsys)
    assert "step 60 of 100" in shown
    assert shown.splitlines()[-1] == (
        "metrics.jsonl: 2 lines cannot be read and are left out (the first: line 4: nested too "
        "deeply)"
    )
    assert "2 lines cannot be read" in on_screen(folder.path)


def on_screen(path: Path, width: int = 120, height: int = 40) -> str:
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(screen(RunStatus.read(path), console))
    return capture.get()


def test_figures_that_are_null_or_huge_are_shown(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name in record(80) if name.startswith(("system/", "train/loss"))]
    huge = dict.fromkeys(names, 1.7e308)
    missing = {"train/batches/monolingual": None, "eval/toy/map.multilingual": None}
    with folder.metrics.open("a") as lines:
        lines.write(json.dumps(record(60, **huge)) + "\n")
        lines.write(json.dumps(record(80, **dict.fromkeys(names), **missing)) + "\n")
    folder.hold()
    age(folder.path)
    shown = output_of(folder.path, capsys)
    assert "evaluation at step 80: eval/toy/map.multilingual -" in shown
    assert "pairs/s -" in shown and "peak memory -" in shown
    assert "step 80 of 100" in on_screen(folder.path)


@pytest.mark.parametrize("step_ms", [1.7e308, -1.7e308, -1])
def test_a_remaining_time_that_makes_no_sense_is_not_shown(
    step_ms: float, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.metrics.write_text(json.dumps(record(60, **{"system/step_ms": step_ms})) + "\n")
    assert output_of(folder.path, capsys).startswith("a run: running, step 60 of 100\n")


@pytest.mark.parametrize("name", ["\\[b]", "[bold]x", "\x1b[31mred"])
def test_names_are_shown_as_they_are(
    name: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with folder.metrics.open("a") as lines:
        figures = {"eval/toy/map.multilingual": 0.5, f"eval/{name}": 1.0, "dev/[/]": 2.0}
        lines.write(json.dumps(record(60, **figures)) + "\n")
    path = folder.path.rename(folder.path.with_name(name))
    age(path)
    watch.main([str(path), "--follow"])
    plain = name.replace("\x1b", r"\x1b")
    shown = capsys.readouterr().out
    assert f"{plain}: failed" in shown and "\x1b" not in shown
    shown = on_screen(path)
    for word in (f"{plain}: failed", f"eval/{plain} ", "dev/[/] "):
        assert word in shown
    assert "\x1b" not in shown


def test_a_run_that_has_not_logged_yet_is_shown(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.metrics.unlink()
    (folder.path / "environment.json").touch()
    assert output_of(folder.path, capsys) == "a run: running, step 0 of 100\n"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder \(it has no config.yaml\)"):
        watch.main([str(tmp_path)])


def of_tasks(folder: RunFolder, count: int) -> None:
    """The same run with held-out pairs and so many tasks, evaluated three times."""
    labels = [f"task{number}" for number in range(count)]
    rewritten(
        folder,
        data=Data(train=("a",), dev=("b",)),
        eval=Eval(tasks=tuple(f"{label}=toy:somewhere" for label in labels)),
    )
    names = (*(f"map.{one}" for one in SETTINGS), "bias.rank_distance.mean")
    figures = {f"eval/{label}/{name}": 0.25 for label in labels for name in names}
    figures |= {"dev/loss": 2.5, "eval/best": 0.25, "eval/best_step": 20}
    more = {"train/batches/multilingual": 1, "system/mfu_pct": 40.0, "train/skipped": 1}
    records = [record(step, **figures, **more) for step in (4, 20, 40)]
    folder.metrics.write_text("".join(json.dumps(r) + "\n" for r in records))
    age(folder.path)


FIGURES = ("cross_lingual", "waiting for data", "peak memory", "updates left out", "task0", "2.5")


@pytest.mark.parametrize(("tasks", "curves"), [(1, 2), (2, 2), (12, 0), (40, 0)])
def test_figures_fit_on_a_small_screen_and_curves_where_there_is_room(
    tasks: int, curves: int, folder: RunFolder
) -> None:
    of_tasks(folder, tasks)
    shown = on_screen(folder.path, 80, 24)
    rows = shown.splitlines()
    assert len(rows) <= 23 and max(map(len, rows)) <= 80
    assert rows[0].startswith("a run: failed, step 40 of 100")
    assert all(word in shown for word in FIGURES)
    assert sum(name in shown for name in ("train/loss", "eval/task0/map.multi")) == curves
    listed = sum(row.startswith(" task") for row in rows)
    assert [int(n) for n in re.findall(r"and (\d+) more", shown)] == [tasks - listed] * (tasks > 2)
    assert listed >= min(tasks, 9)


def test_few_columns_and_lines_are_enough_for_the_state(folder: RunFolder) -> None:
    of_tasks(folder, 2)
    shown = on_screen(folder.path, 40, 10)
    assert "a run: failed" in shown and "pairs/s" in shown


def in_terminal(folder: RunFolder, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """`watch` on a terminal of 80 columns and 24 lines, and our end of it."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "hybrid_dist", "watch", str(folder.path), *options]
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm-256color"}
    )
    os.close(theirs)
    return process, terminal


def shown_until(terminal: int, word: bytes = b"") -> str:
    """What is shown until a word is, or until the command closes its side."""
    shown = b""
    with suppress(OSError):
        while not (word and word in shown) and (part := os.read(terminal, 1 << 16)):
            shown += part
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_a_terminal_shows_figures_and_curves(folder: RunFolder) -> None:
    of_tasks(folder, 1)
    process, terminal = in_terminal(folder)
    text = shown_until(terminal)
    assert process.wait() == 0
    assert len(text.split("\n")) <= 24 and "failed, step 40 of 100" in text
    assert all(word in text for word in FIGURES)
    assert sum(0x2800 < ord(letter) < 0x2900 for letter in text) > 20


def test_a_run_that_ends_while_it_is_followed_keeps_its_line(folder: RunFolder) -> None:
    of_tasks(folder, 1)
    folder.hold()
    process, terminal = in_terminal(folder, "--follow")
    shown_until(terminal, b"running")
    with folder.metrics.open("a") as lines:
        lines.write(json.dumps(record(100)) + "\n")
    report = folder.evaluation() / "task0" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text("{}")
    folder.close()
    text = shown_until(terminal)
    assert process.wait() == 0
    *_, last = text.split("a run: ")
    assert last.startswith("finished, step 100 of 100") and len(last.split("\n")) <= 24
