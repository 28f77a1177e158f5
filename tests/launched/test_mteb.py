"""Scores of MTEB's layout against MTEB itself, in a Python of its own.

python -m venv mteb && mteb/bin/pip install mteb
HYBRID_DIST_MTEB=mteb/bin/python pytest -m long tests/launched/test_mteb.py
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_task
from hybrid_dist.runtime.ranks import Ranks
from tests.support.launch import ROOT
from tests.support.mteb_data import LANGUAGES, ByText, write_single, write_subsets

FIGURES = (
    *("ndcg_at_10", "map_at_10", "map_at_100", "recall_at_10", "recall_at_100"),
    *("precision_at_10", "hit_rate_at_10"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, and our results in MTEB's format."""
    folder = tmp_path_factory.mktemp("mteb")
    for name, write in (("subsets", write_subsets), ("single", write_single)):
        (folder / name).mkdir()
        write(folder / name)
    results = folder / "results" / "tests__by-text" / "1"
    for spec in (
        f"Subsets=mteb:{folder}/subsets?subset=all",
        f"Single=mteb:{folder}/single",
        f"Identical=mteb:{folder}/single?ignore_identical_ids=yes",
    ):
        task = load_task(spec, ties="trec_eval")
        options = ReportOptions(mteb_results=results)
        evaluate_task(task, ByText(), Ranks(), folder / "out" / task.name, None, options)
    return folder


@pytest.fixture(scope="module")
def theirs(folder: Path) -> dict[str, Any]:
    python = os.environ.get("HYBRID_DIST_MTEB")
    if not python:
        pytest.skip("HYBRID_DIST_MTEB is not set: name a Python with mteb (pip install mteb)")
    done = subprocess.run(
        [python, "-m", "tests.launched.scripts.mteb_scores", str(folder)],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(folder: Path, task: str) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / "results/tests__by-text/1" / f"{task}.json").read_text())
    return {row["hf_subset"]: row for row in content["scores"]["test"]}


def test_results_name_subsets_and_languages(folder: Path) -> None:
    rows = ours(folder, "Subsets")
    assert {name: row["languages"] for name, row in rows.items()} == LANGUAGES
    assert ours(folder, "Single").keys() == {"default"}
    assert ours(folder, "Identical")["default"] != ours(folder, "Single")["default"]


@pytest.mark.long
@pytest.mark.parametrize("task", ["Subsets", "Single", "Identical"])
def test_scores_are_mteb_s_own(folder: Path, theirs: dict[str, Any], task: str) -> None:
    own = ours(folder, task)
    assert own.keys() == theirs["scores"][task].keys()
    for subset, expected in theirs["scores"][task].items():
        for name in FIGURES:
            assert own[subset][name] == pytest.approx(expected[f"whole_{name}"], abs=1e-6)
        for k in (1, 3, 5, 10, 20, 100, 1000):  # those that MTEB does not round, and all others
            assert own[subset][f"mrr_at_{k}"] == pytest.approx(expected[f"mrr_at_{k}"], abs=1e-6)
            for name in ("ndcg", "map", "recall", "precision", "hit_rate"):
                name = f"{name}_at_{k}"
                assert own[subset][name] == pytest.approx(expected[name], abs=6e-6), name
        assert own[subset]["main_score"] == pytest.approx(expected["main_score"], abs=6e-6)


@pytest.mark.long
def test_mteb_reads_our_results(folder: Path, theirs: dict[str, Any]) -> None:
    for task in ("Subsets", "Single"):
        rows = ours(folder, task)
        read = theirs["read"][task]
        assert read["whole"]["task_name"] == task
        for row in read["whole"]["scores"]["test"]:
            assert rows[row["hf_subset"]].items() <= row.items()
        scores = [row["main_score"] for row in rows.values()]
        assert read["score"] == pytest.approx(sum(scores) / len(scores))
    assert theirs["cached"] == {"tests/by-text": ["Identical", "Single", "Subsets"]}
