"""Updates on several ranks equal those of one process with the whole batch, in float64."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.launched.launch import launch

SCRIPT = str(Path(__file__).with_name("scripts") / "updates.py")
TOLERANCE = 1e-4


def results(launcher: str, processes: int, toy: Path, *options: str) -> list[dict[str, Any]]:
    done = launch(launcher, processes, [SCRIPT, str(toy), *options])
    found = [
        json.loads(line.partition("RESULT ")[2])
        for line in done.output.splitlines()
        if "RESULT " in line
    ]
    assert done.code == 0 and found, done.output
    return found


def assert_equal_updates(found: list[dict[str, Any]]) -> None:
    for result in found:
        assert result["update_error"] < TOLERANCE, result
        assert result["loss_error"] < TOLERANCE, result
        assert result.get("temperature_error", 0.0) < TOLERANCE, result
        assert result["masked"] > 0, "the batches held no false negatives to mask"


@pytest.mark.parametrize("processes", [2, 3])
def test_ddp_updates_equal_one_process(processes: int, toy: Path) -> None:
    found = results("cpu", processes, toy)
    assert len(found) == 4
    assert_equal_updates(found)


@pytest.mark.parametrize(
    "launcher",
    [
        "zero2",
        pytest.param("zero1", marks=pytest.mark.long),
        pytest.param("zero3", marks=pytest.mark.long),
    ],
)
def test_zero_updates_equal_one_process(launcher: str, toy: Path) -> None:
    assert_equal_updates(results(launcher, 2, toy, "all"))
