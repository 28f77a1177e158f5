"""Evaluation in two processes gives the same bytes as in one."""

import json
from pathlib import Path
from typing import Any

from tests.support.launch import TORCHRUN, run, script
from tests.support.runs import succeed

SCRIPT = script("evaluate_given_vectors")


def launch(processes: int, out: Path, *words: str) -> None:
    succeed(run([*TORCHRUN, str(processes), *SCRIPT, str(out), *words]))


def figures(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    return report


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    for processes in (1, 2):
        launch(processes, tmp_path / str(processes))
    one, two = figures(tmp_path / "1"), figures(tmp_path / "2")
    assert (one.pop("timing")["processes"], two.pop("timing")["processes"]) == (1, 2)
    assert json.dumps(one) == json.dumps(two)
    for name in ("report.md", "map_by_pair.png", "rank_distance.png", "language_share.png"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_all_ranks_refuse_what_one_of_them_holds(tmp_path: Path) -> None:
    launch(2, tmp_path / "out", "broken")
    refusals = [(tmp_path / f"refused-{rank}.txt").read_text("utf-8") for rank in range(2)]
    assert refusals[0] == refusals[1]
    assert "1 passage vectors have NaN" in refusals[0]
    assert "u0899 in cc" in refusals[0]
