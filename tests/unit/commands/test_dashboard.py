"""Workspaces of W&B for runs and a study: the panels, the file, and what a server gets of it."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.commands import dashboard
from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.schema import Batching, Log, Run
from hybrid_dist.config.sources import Mix
from hybrid_dist.reporting.dashboard_panels import RUNS, laid_out, varied
from hybrid_dist.reporting.logged_run import LoggedRun
from hybrid_dist.studies.run_states import STUDY_FILE
from hybrid_dist.tracking.wandb_run import BY_PAIR, ID_FILE
from tests.support.stored_reports import report, write
from tests.support.wandb_server import Server, serving
from tests.support.watched_run import record, run_config

needs_package = pytest.mark.skipif(
    find_spec("wandb_workspaces") is None, reason="needs the package wandb-workspaces"
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    yield from serving(monkeypatch)


def write_run(folder: Path, seed: int = 1, monolingual: float = 0.5, project: str = "p") -> Path:
    """The folder of a run that W&B has recorded."""
    folder.mkdir(parents=True)
    config = replace(
        run_config(str(folder.parent)),
        run=Run(dir=str(folder.parent), name=folder.name),
        seed=seed,
        batching=Batching(mix=Mix(monolingual=monolingual, cross_lingual=1 - monolingual)),
        log=Log(project=project, tags=(folder.parent.name,)),
    )
    (folder / "config.yaml").write_text(to_yaml(config))
    evaluated = {"eval/toy/map.multilingual": 0.5, "eval/best": 0.5, "eval/best_step": 20}
    records = [record(10, **{"train/loss_by_pair/de_to_en": 1.0}), record(20, **evaluated)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    write(folder / "eval" / "toy" / "report.json", report())
    (folder / ID_FILE).write_text(f"id-{folder.parent.name}-{seed}\n")
    return folder


def write_study(out: Path) -> Path:
    """The folder of a study of two cells with two seeds each, and of a model that is not in W&B."""
    for cell, monolingual in (("half", 0.5), ("all", 1.0)):
        for seed in (1, 2):
            write_run(out / "runs" / cell / f"seed-{seed}", seed, monolingual)
    (out / "runs" / "untrained" / "seed-1").mkdir(parents=True)
    (out / STUDY_FILE).write_text("{}")
    return out


def panels(view: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The config of every panel of a workspace, by its title or else its kind."""
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    found = [panel for section in sections for panel in section["panels"]]
    return {p["config"].get("chartTitle", p["viewType"]): p["config"] for p in found}


def test_panels_have_the_figures_of_the_runs_and_no_others(tmp_path: Path) -> None:
    run = LoggedRun.read(write_run(tmp_path / "runs" / "one"))
    sections = {
        section.name: {panel.title: panel.keys for panel in section.panels}
        for section in laid_out(RUNS, run.keys)
    }
    shown = {key for row in sections.values() for keys in row.values() for key in keys}
    assert run.keys - shown == {"eval/best_step"}
    assert shown <= run.keys
    assert sections["Loss"] == {
        "Loss by kind of batch": ("train/loss", "train/loss/monolingual"),
        "Last loss of each language pair": (BY_PAIR,),
    }
    assert sections["mAP in the three settings"] == {
        "toy: multilingual": ("eval/toy/map.multilingual",),
        "Best so far": ("eval/best",),
    }
    assert sections["Finished models"]["toy: mAP"] == (
        *("final/toy/map.monolingual", "final/toy/map.cross_lingual"),
        "final/toy/map.multilingual",
    )
    assert "Language bias" not in sections, "no evaluation during training has one"


def test_reports_of_tasks_that_training_does_not_evaluate_are_not_in_wandb(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "one")
    write(folder / "eval" / "later" / "report.json", report(task="later"))
    assert not [key for key in LoggedRun.read(folder).keys if "later" in key]


def test_what_varies_is_named_without_seeds_and_paths(tmp_path: Path) -> None:
    write_study(tmp_path)
    runs = [LoggedRun.read(file.parent) for file in sorted(tmp_path.rglob(ID_FILE))]
    assert varied(runs) == ("batching.mix.monolingual", "batching.mix.cross_lingual")


@needs_package
def test_a_study_gets_a_second_workspace_by_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(tmp_path / "ratio"), tmp_path / "dashboard.json"
    dashboard.main([str(study), "--out", str(out)])
    assert capsys.readouterr().out.startswith(f"{out}: 2 workspaces, ")
    of_runs, of_cells = json.loads(out.read_text())["views"]
    assert [of_runs["displayName"], of_cells["displayName"]] == [
        "hybrid_dist: 4 runs",
        "hybrid_dist: study ratio",
    ]
    shown = panels(of_runs)
    assert shown["Loss by kind of batch"]["metrics"] == ["train/loss", "train/loss/monolingual"]
    assert shown["Loss by kind of batch"]["xAxis"] == "train/step"
    by_cell = panels(of_cells)
    bars = by_cell["toy: multilingual mAP"]
    assert (bars["groupBy"], bars["groupAgg"], bars["groupArea"]) == ("tags", "mean", "stddev")
    columns = [c["accessor"] for c in by_cell["Settings and final figures"]["columns"]]
    assert "config:batching.value.mix.monolingual" in columns
    assert "summary:final/toy/map.multilingual" in columns
    ids = json.dumps(of_cells["spec"]["section"]["runSets"][0]["filters"])
    assert all(f"id-{cell}-{seed}" in ids for cell in ("half", "all") for seed in (1, 2))


@needs_package
def test_a_written_file_is_sent_as_it_is(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dashboard.json"
    dashboard.main([str(write_run(tmp_path / "runs" / "a=🙂")), "--out", str(out)])
    assert server.views == []
    dashboard.main([str(out), "--send", "--entity", "a-team"])
    (sent,), (view,) = server.views, json.loads(out.read_text())["views"]
    assert (sent["entityName"], sent["projectName"]) == ("a-team", "p")
    assert json.loads(sent["spec"]) == view["spec"]
    assert capsys.readouterr().out.splitlines()[-1] == f"{server.url}/a-team/p?nw=w"


@needs_package
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}", "is no dashboard; give run folders"),
        ('{"views": [{"entity": ""}]}', "is no dashboard \\(project: Field required\\)"),
        ("[", "is not a dashboard"),
    ],
)
def test_other_files_are_refused(
    content: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(SystemExit):
        dashboard.main([str(file), "--send"])
    assert re.search(problem, capsys.readouterr().err)


@needs_package
def test_runs_that_are_not_in_one_project_of_wandb_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", project="q")
    with pytest.raises(SystemExit):
        dashboard.main([str(one), str(other)])
    assert "in several W&B projects (p, q)" in capsys.readouterr().err
    (other / ID_FILE).unlink()
    with pytest.raises(SystemExit):
        dashboard.main([str(other)])
    assert "has no W&B run (log.wandb is offline)" in capsys.readouterr().err


def test_an_absent_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(SystemExit):
        dashboard.main([str(write_run(tmp_path / "one"))])
    assert 'pip install "hybrid_dist[dashboard]"' in capsys.readouterr().err
