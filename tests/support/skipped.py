"""Updates that are skipped under a launcher."""

import json
from pathlib import Path

from tests.support.launch import TORCHRUN, launch, run, script

SCRIPT = script("skipped")


PARTS = ["weights", "exp_avg", "exp_avg_sq", "step", "moving_average"]


def assert_skipped(launcher: str, processes: int, toy: Path) -> None:
    if launcher == "torchrun":
        done = run([*TORCHRUN, str(processes), *SCRIPT, str(toy)])
    else:
        done = launch(launcher, processes, [*SCRIPT, str(toy)])
    lines = [line for line in done.output.splitlines() if "RESULT " in line]
    assert done.code == 0 and len(lines) == 1, done.output
    result = json.loads(lines[0].partition("RESULT ")[2])
    assert result["changed"] == [[], PARTS, PARTS, [], PARTS, PARTS]
    assert result["counted"] == [0, 1, 1, 1, 2, 2]
    assert result["all"] == 2
    if not launcher.startswith("zero"):  # DeepSpeed waits in its own step
        assert result["waits"] == {}
