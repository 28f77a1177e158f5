"""The comparison with other libraries: with tiny sizes, and what it makes of results and errors."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.launch import ROOT

PEERS = ROOT / "benchmarks" / "peers"
PEER = "sentence-transformers"


def compared(out: Path, *options: str) -> dict[str, Any]:
    """The results of a quick comparison."""
    command = [sys.executable, str(PEERS / "run.py"), "--quick", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    results: dict[str, Any] = json.loads((out / "results.json").read_text("utf-8"))
    return results


@pytest.mark.long
def test_sides_train_on_the_same_and_every_figure_is_there(tmp_path: Path) -> None:
    results = compared(tmp_path / "out", "--installed", "--only", PEER)
    both = {"hybrid_dist", PEER}
    assert [side for side in results["sides"].values() if "errors" in side] == []
    for part in ("speed", "chunks", "largest", "quality"):
        assert set(results[part]) - {"start"} == both
    for part in ("speed", "chunks"):
        ours, theirs = (results[part][side][0]["losses"] for side in sorted(both))
        assert ours == pytest.approx(theirs, rel=1e-3)
        assert ours[0] != pytest.approx(ours[1], rel=1e-3)
    assert set(results["evaluation"]["model"]) == {"hybrid_dist"}
    assert f"| hybrid_dist | {PEER} |" in (tmp_path / "out" / "table.md").read_text("utf-8")
    assert (tmp_path / "out" / "plot.png").stat().st_size > 10_000


@pytest.mark.long
def test_a_peer_that_cannot_be_installed_is_listed_with_its_error(tmp_path: Path) -> None:
    away = ("--only", "MTEB", "--folder", str(tmp_path / "made"), "--parts", "evaluation")
    results = compared(tmp_path / "out", *away, "--pip-args", f"--no-index --find-links={tmp_path}")
    assert "not installed: " in results["sides"]["MTEB"]["errors"]["installation"]
    table = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert "- MTEB, installation: not installed: ERROR: " in table
    assert len(results["evaluation"]["vectors"]["hybrid_dist"]) == 1


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PEERS))
    monkeypatch.syspath_prepend(str(PEERS.parent))
    import comparison

    return comparison


@pytest.mark.parametrize("limit", [5, 32, 33, 100, 511, 512, 10_000])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_the_largest_batch_is_found(modules: ModuleType, limit: int, in_chunks: bool) -> None:
    import largest
    import processes
    import sizes

    tried = []

    def train(size: int) -> dict[str, Any]:
        tried.append(size)
        if size > limit:
            raise processes.TooLarge
        return {"peak_gib": size / 100}

    found = largest.largest_batch(train, sizes.FULL, in_chunks)
    most = min(limit, sizes.FULL.largest)
    assert most - sizes.FULL.nearest < found["size"] <= most
    assert found["peak_gib"] == found["size"] / 100
    assert (found["too_large"] is None) == (limit >= sizes.FULL.largest)
    assert len(tried) == len(set(tried)) <= 10


def test_a_part_that_runs_again_forgets_its_errors(modules: ModuleType, tmp_path: Path) -> None:
    from environments import OURS, Failed

    first = modules.Results(tmp_path / "results.json", {})
    for part in ("speed", "largest batch at once"):
        first.failed(OURS, part, Failed("broke"))
    again = modules.Results(tmp_path / "results.json", {})
    again.part("largest")["hybrid_dist"] = {}
    again.save()
    kept = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert kept["sides"] == {"hybrid_dist": {"errors": {"speed": "broke"}}}
    assert "largest" in kept


def test_the_table_marks_the_best_and_says_where_a_peer_is_ahead(
    modules: ModuleType, tmp_path: Path
) -> None:
    import report
    import sizes

    def one(start: float, steps: list[float]) -> dict[str, Any]:
        return {"start_s": start, "step_s": steps, "peak_gib": 1.0, "encode_s": 2.0}

    results = {
        "sizes": sizes.FULL.content(),
        "sides": {
            "hybrid_dist": {"versions": {"hybrid_dist": "1", "torch": "2"}},
            PEER: {"errors": {"quality": "broke"}},
        },
        "speed": {
            "hybrid_dist": [one(9, [50, 1, 2]), one(8, [50, 3, 4])],
            PEER: [one(7, [50, 5]), one(7.5, [50, 6])],
        },
    }
    table = report.markdown(results)
    assert "| from start to the first step, s | 8.5 (8.0 to 9.0) | **7.2** (7.0 to 7.5) |" in table
    assert "| step of 32 pairs, s | **2.50** (1.00 to 4.00) | 5.50 (5.00 to 6.00) |" in table
    assert "| version | 1 |  |" in table
    assert f"- from start to the first step, s: {PEER} 7.2; hybrid_dist 8.5" in table
    assert "- step" not in table
    assert f"- {PEER}, quality: broke" in table
    report.plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
