"""An update is skipped on the device: it changes nothing, and the host hears of it a step later."""

import json
from pathlib import Path

import pytest

from tests.launched.launch import TORCHRUN, launch, run

SCRIPT = str(Path(__file__).with_name("scripts") / "skipped.py")
PARTS = ["weights", "exp_avg", "exp_avg_sq", "step"]


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("cpu", 2),
        ("torchrun", 2),
        pytest.param("cpu", 1, marks=pytest.mark.long),
        pytest.param("zero1", 2, marks=pytest.mark.long),
        pytest.param("zero2", 2, marks=pytest.mark.long),
        pytest.param("zero3", 2, marks=pytest.mark.long),
    ],
)
def test_a_skipped_update_changes_nothing_and_is_not_waited_for(
    launcher: str, processes: int, toy: Path
) -> None:
    assert_skipped(launcher, processes, toy)


def assert_skipped(launcher: str, processes: int, toy: Path) -> None:
    if launcher == "torchrun":
        done = run([*TORCHRUN, str(processes), SCRIPT, str(toy)])
    else:
        done = launch(launcher, processes, [SCRIPT, str(toy)])
    lines = [line for line in done.output.splitlines() if "RESULT " in line]
    assert done.code == 0 and len(lines) == 1, done.output
    told = json.loads(lines[0].partition("RESULT ")[2])
    assert told["changed"] == [[], PARTS, PARTS, [], PARTS, PARTS]
    assert told["counted"] == [0, 1, 1, 1, 2, 2]
    assert told["all"] == 2
    if not launcher.startswith("zero"):  # DeepSpeed waits in its own step
        assert told["waits"] == {}
