"""A study with real runs: some fail, some are skipped, and one is stopped and goes on."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.launch import run, running, wait_for
from tests.support.runs import metrics, succeed
from tests.support.studies import write_study

COMMAND = [sys.executable, "-m", "hybrid_dist.cli", "study"]


def test_a_study_runs_reports_and_goes_on(toy: Path, tmp_path: Path) -> None:
    """Two kinds of batches, two seeds, and a cell that cannot be trained."""
    tasks = {"toy": f"toy:{toy}", "again": {"task": f"toy:{toy}/test.jsonl", "seeds": [1]}}
    changed: dict[str, Any] = {"tasks": tasks, "untrained": True}
    changed["cells"] = {"too-large": {"batching.size": 4000}}
    changed["overrides"] = {"eval.precision": "bf16"}
    file, out = write_study(tmp_path, toy, **changed), tmp_path / "out"
    words = [*COMMAND, str(file), "--out", str(out)]
    done = run([*words, "--jobs", "2"])
    assert done.code == 1, done.output
    assert "5 of 7 runs finished, 2 failed" in done.output
    assert "too-large/seed-2 failed: batching.size: 4000 is more than any" in done.output
    text = (out / "report.md").read_text()
    assert "| hybrid | 2 of 2 |" in text and "| too-large | 0 of 2 (2 failed) |" in text
    assert (out / "runs/hybrid/seed-1/eval-again/toy/report.json").is_file()
    assert not (out / "runs/hybrid/seed-2/eval-again").exists()
    reports = list(out.glob("runs/**/report.json"))
    arithmetic = [json.loads(file.read_text())["settings"]["arithmetic"] for file in reports]
    assert arithmetic == ["bf16"] * 8, "evaluated by training and by the study, as eval.precision"
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/metrics.jsonl")}
    assert len(before) == 4

    changed.pop("cells")
    write_study(tmp_path, toy, **changed)
    again = succeed(run(words))
    assert "5 of 5 runs finished" in again.output
    assert "fewer than 5, the figures do not support a claim about" in " ".join(
        again.output.split()
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before, "they were skipped"
    content = json.loads((out / "report.json").read_text())
    assert set(content["tasks"]["toy"]["cells"]) == {"monolingual", "hybrid", "untrained"}
    assert content["runs"]["hybrid/seed-1"]["memory"] > 0


@pytest.mark.long
def test_a_stopped_study_saves_and_goes_on(toy: Path, tmp_path: Path) -> None:
    changed = {"axes": None, "cells": {"one": {"train.steps": 60}}, "baseline": "one"}
    file, out = write_study(tmp_path, toy, seeds=[1], **changed), tmp_path / "out"
    words = [*COMMAND, str(file), "--out", str(out)]
    log = out / "runs/one/seed-1/metrics.jsonl"
    with running(words) as started:
        wait_for(lambda: log.exists() and log.read_text().count("\n") > 2)
        started.process.send_signal(signal.SIGTERM)
        done = started.end()
    assert done.code == 128 + signal.SIGTERM, done.output
    assert "stopping: the same command goes on" in done.output
    assert (out / "runs/one/seed-1/interrupted").is_file()
    assert "| one/seed-1 | interrupted | - |" in (out / "report.md").read_text()
    succeed(run(words))
    steps = [record["step"] for record in metrics(out / "runs/one", "seed-1")]
    assert steps == list(range(1, 61)), "no step was trained twice"
    assert "resumed from" in (out / "logs/one.seed-1.log").read_text()
