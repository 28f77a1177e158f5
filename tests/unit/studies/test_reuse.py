"""Runs that another study has finished are copied, and nothing else is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hybrid_dist.errors import UserError
from hybrid_dist.studies.grids import grid
from hybrid_dist.studies.recipes import build_recipe
from hybrid_dist.studies.reuse import reuse_runs
from hybrid_dist.studies.run_states import (
    RunRecord,
    check_folder,
    claim_folder,
    state_of,
    write_record,
)
from hybrid_dist.studies.study_file import read_study
from tests.support.studies import HYBRID, MONOLINGUAL, finish, make_grid, write_study

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


def test_studies_of_different_batches_share_their_untrained_model(
    toy: Path, tmp_path: Path
) -> None:
    old = make_grid(tmp_path / "old", toy, untrained=True, overrides={"optim.lr": 1e-4})
    claim_folder(old)
    untrained = old.runs(old.cell("untrained"))[0]
    finish(old, untrained, 1.0)

    cells = {"large": {"batching.size": 32, "model.dropout": 0.1, "loss.temperature": 0.1}}
    changed = {"axes": None, "cells": cells, "baseline": "large", "untrained": True}
    new = make_grid(tmp_path / "new", toy, **changed)
    lines = reuse_runs(new, [old.out])
    assert [line.partition(":")[0] for line in lines] == ["untrained"]
    for key, value in {
        "model.max_passage_tokens": 64,  # other texts
        "eval.precision": "bf16",  # other vectors
        "seed": 2,  # other random weights: the model is one from scratch
    }.items():
        other = write_study(tmp_path / key, toy, **changed)
        config = other.parent / "base.yaml"
        base = yaml.safe_load(config.read_text())
        section, _, name = key.rpartition(".")
        (base.setdefault(section, {}) if section else base)[name] = value
        config.write_text(yaml.safe_dump(base))
        other_grid = grid(read_study(other), other, tmp_path / key / "out")
        assert reuse_runs(other_grid, [old.out]) == [], key


def test_notes_of_older_versions_are_understood(toy: Path, tmp_path: Path) -> None:
    """They have all keys of training for untrained models, no seed, and no keys of later."""
    old = make_grid(tmp_path, toy, untrained=True)
    claim_folder(old)
    finish(old, old.runs(old.cell("untrained"))[0], 1.0)
    finish(old, old.runs(old.cell("hybrid"))[0], 1.0)
    note = old.out / "study.json"
    content = json.loads(note.read_text())
    cells = content["cells"]
    for cell in cells.values():
        cell.pop("train.compile", None)
    cells["untrained"] = {**cells["monolingual"], **cells["untrained"]}
    del cells["untrained"]["seed"]
    note.write_text(json.dumps(content))
    check_folder(make_grid(tmp_path, toy, untrained=True, overrides={"optim.lr": 1e-3}))
    with pytest.raises(UserError, match=r"in its cell untrained, model\.pooling is 'mean'"):
        overrides = {"model.pooling": "cls"}
        made = make_grid(tmp_path, toy, untrained=True, overrides=overrides)
        check_folder(replace(made, cells=(made.cell("untrained"),)))
    new = make_grid(tmp_path / "new", toy, untrained=True)
    assert [line.partition(":")[0] for line in reuse_runs(new, [old.out])] == ["hybrid/seed-1"]


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
