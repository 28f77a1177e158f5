"""metrics.jsonl is the truth about a run; W&B is told the same, and never stops it."""

import json
from pathlib import Path
from typing import Any

import pytest
import wandb

from hybrid_dist.config import Log
from hybrid_dist.tracking.metrics_log import MetricsLog
from hybrid_dist.tracking.wandb_run import WandbRun
from tests.unit.wandb_files import offline_runs

CONFIG = {"seed": 1, "optim": {"lr": 0.5}, "data": {"train": ["ä.jsonl"]}}


def record(step: int, **figures: Any) -> dict[str, Any]:
    return {"step": step, "train/loss": step / 10, **figures}


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    records = [record(10, kind="ünï\u2028\x85\n"), record(20, language=None)]
    for each in records:
        log.write(each)
    assert log.read() == records
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()] == records


@pytest.mark.parametrize("torn", ["", '{"step": 30, "train/lo', "\x00\x00\x00"])
def test_cutting_back_forgets_later_steps_and_a_torn_line(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "metrics.jsonl"
    log = MetricsLog(file)
    for step in (5, 10, 15, 20):
        log.write(record(step))
    with file.open("a") as lines:
        lines.write(torn)
    assert log.cut_back(10) == 20, "the last step that had been logged"
    assert log.read() == [record(5), record(10)]
    log.write(record(11))
    assert [json.loads(line)["step"] for line in file.open()] == [5, 10, 11]


def test_cutting_back_what_is_not_there_leaves_an_empty_log(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.cut_back(0) == 0
    assert log.read() == []


def wandb_run(
    folder: Path, said: list[str], sent_until: int = 0, speaks: bool = True, **log: Any
) -> WandbRun:
    options = Log(wandb=log.pop("mode", "offline"), project="a project")
    return WandbRun(options, folder, CONFIG, sent_until, said.append, speaks)


def test_an_offline_run_has_config_metrics_and_steps_and_a_resumed_one_goes_on(
    tmp_path: Path,
) -> None:
    folder, said = tmp_path / "my run", list[str]()
    folder.mkdir()
    run = wandb_run(folder, said)
    for step in (10, 20, 30):
        run.write(record(step, language=None, kind="monolingual"))
    run.write({"step": 30, "eval/toy/map.multilingual": 0.5})
    run.finish()
    # the run died at step 30 and is resumed from the checkpoint of step 10
    run = wandb_run(folder, said, sent_until=30)
    for step in (20, 30, 40):
        run.write(record(step))
    run.summarize({"final/toy/map.multilingual": 0.75})
    run.finish()

    first, second = offline_runs(folder)
    assert first.id == second.id == (folder / "wandb_id").read_text().strip()
    assert (first.project, first.name) == ("a project", "my run")
    for told in (first, second):
        assert {key: told.config[key] for key in CONFIG} == CONFIG
        assert told.metrics["*"] == "step"
    steps = [[r["step"] for r in told.history] for told in (first, second)]
    assert steps == [[10, 20, 30, 30], [40]]
    assert [r["train/loss"] for r in first.history[:3]] == [1.0, 2.0, 3.0]
    assert "language" not in first.history[0]
    assert first.history[3]["eval/toy/map.multilingual"] == 0.5
    assert second.summary["final/toy/map.multilingual"] == 0.75
    folders = sorted((folder / "wandb").glob("offline-run-*"))
    named = [Path(line.partition("wandb sync ")[2]) for line in said]
    assert len(named) == 2, "each part of the run ends with the line that sends them all"
    for glob in named:
        assert sorted(glob.parent.glob(glob.name)) == folders


@pytest.mark.parametrize(("mode", "speaks"), [("disabled", True), ("offline", False)])
def test_nothing_is_written_when_disabled_or_on_other_ranks(
    tmp_path: Path, mode: str, speaks: bool
) -> None:
    said: list[str] = []
    run = wandb_run(tmp_path, said, speaks=speaks, mode=mode)
    run.write(record(1))
    run.summarize({"final/x": 1.0})
    run.finish()
    assert list(tmp_path.iterdir()) == []
    assert said == []


def test_a_failure_to_start_is_told_once_and_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "wandb_id").mkdir()  # so that the id cannot be read
    said: list[str] = []
    run = wandb_run(tmp_path, said)
    run.write(record(1))
    run.summarize({"final/x": 1.0})
    run.finish()
    assert len(said) == 1
    assert said[0].startswith("W&B is off for the rest of this run: ")


def test_a_failure_on_the_way_is_told_once_and_does_not_stop_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    run = wandb_run(tmp_path, said)
    run.write(record(1))
    run.write({"step": 2, "train/loss": object()})  # what W&B cannot put into JSON
    run.write(record(3))
    run.summarize({"final/x": 1.0})
    run.finish()
    wandb.finish()  # as at the program's end
    assert len(said) == 1
    assert said[0].startswith("W&B is off for the rest of this run: ")


def test_a_run_without_a_folder_to_write_to_is_told_and_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    run = wandb_run(tmp_path / "gone", said)
    run.write(record(1))
    run.finish()
    assert len(said) == 1
    assert "metrics.jsonl has everything" in said[0]
