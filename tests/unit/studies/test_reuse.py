"""Runs that another study has finished are copied, and nothing else is."""

import json
import shutil
from pathlib import Path

import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.studies.recipes import build_recipe
from hybrid_dist.studies.reuse import reuse_runs
from hybrid_dist.studies.run_states import RunRecord, claim_folder, state_of, write_record
from tests.support.studies import HYBRID, MONOLINGUAL, finish, make_grid

HELD_OUT = {
    "overrides": {"recipe.held_out_uids": 0.1},
    "tasks": {"held": "pairs:{recipe}/held_out-1.jsonl"},
}


def test_equal_runs_are_copied_once(toy: Path, tmp_path: Path) -> None:
    old = make_grid(tmp_path / "old", toy, seeds=[1, 2, 3])
    claim_folder(old)
    monolingual, hybrid = old.cells
    for run in (*old.runs(hybrid)[:2], old.runs(monolingual)[0]):
        finish(old, run, 1.0)
    weights = old.runs(hybrid)[0].folder / "model/model.safetensors"
    weights.write_bytes(b"weights")
    broken = old.runs(hybrid)[1]
    write_record(old, broken, RunRecord(trained=True, reason="evaluation: out of memory"))

    cells = {"half": HYBRID, "one": MONOLINGUAL, "large": {**HYBRID, "batching.size": 32}}
    new = make_grid(tmp_path / "new", toy, axes=None, cells=cells, baseline="half", seeds=[1, 2])
    lines = reuse_runs(new, [old.out])
    assert [line.partition(":")[0] for line in lines] == ["half/seed-1", "one/seed-1"]
    states = {state.run.name: state for state in (state_of(new, run) for run in new.all_runs())}
    assert {name for name, state in states.items() if state.state == "finished"} == {
        "half/seed-1",
        "one/seed-1",
    }
    assert states["half/seed-1"].record.train_seconds == 60.0, "the report shows its time"
    copied = states["half/seed-1"].run.folder / "model/model.safetensors"
    assert copied.samefile(weights), "weights are linked"
    assert reuse_runs(new, [old.out]) == []


def test_a_folder_without_a_study_is_refused(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--reuse: .*nowhere: holds no study"):
        reuse_runs(make_grid(tmp_path, toy), [tmp_path / "nowhere"])


def test_reports_on_held_out_pairs_hold_in_another_folder(toy: Path, tmp_path: Path) -> None:
    """The pairs of a recipe are the same wherever the study's folder is."""
    old = make_grid(tmp_path / "old", toy, **HELD_OUT)
    cell = old.cells[0]
    assert cell.recipe is not None
    build_recipe(cell.recipe, old.recipe_sources(cell), old.recipe_folder(cell))
    finish(old, old.runs(cell)[0], 1.0)
    shutil.move(old.out, tmp_path / "new" / "out")
    new = make_grid(tmp_path / "new", toy, **HELD_OUT)
    run = new.runs(new.cells[0])[0]
    assert state_of(new, run).state == "finished"
    report = run.reports("held") / "report.json"
    content = json.loads(report.read_text())
    content["made_from"]["task"] = content["made_from"]["task"].replace("held_out", "other")
    report.write_text(json.dumps(content))
    assert state_of(new, run).state == "to evaluate"
