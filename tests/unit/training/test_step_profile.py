"""`touch RUN/PROFILE` in a run of one process."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import hybrid_dist
from hybrid_dist.config.flags import load
from hybrid_dist.training.step_log import StepLog
from tests.support.runs import column, options


def test_the_next_three_steps_are_traced_once(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, note = tmp_path / "traced", StepLog.note
    there: list[bool] = []

    def asked_for(self: StepLog, step: int, *rest: Any) -> None:
        there.append((run / "PROFILE").exists())
        if step == 2:
            (run / "PROFILE").touch()
        note(self, step, *rest)

    def trained(name: str) -> None:
        hybrid_dist.train(load(options(toy, tmp_path, name, train__steps="8"), "test"))

    trained("plain")
    monkeypatch.setattr(StepLog, "note", asked_for)
    monkeypatch.setattr("hybrid_dist.training.requests.SECONDS_BETWEEN_LOOKS", 0.0)
    trained("traced")
    assert there == [False, False, True, True, True, False, False, False]
    (trace,) = (run / "profile").iterdir()
    assert trace.name == "steps-000003-000005-rank-0.json.gz"
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    updates = [event for event in events if "Optimizer.step#AdamW" in event.get("name", "")]
    assert len(updates) == 3
    assert (
        column(tmp_path, "traced", "train/loss") == column(tmp_path, "plain", "train/loss")
    ).all()
