"""What is known of the runs of a study: from their folders, and from the study's own records."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hybrid_dist.config.resolve import from_yaml, to_yaml
from hybrid_dist.config.schema import Config
from hybrid_dist.config.task_names import label_of
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import read_json, write_atomically
from hybrid_dist.studies.cells import (
    RECIPES,
    Cell,
    CellRun,
    Grid,
    identity_of_untrained,
    identity_values,
)
from hybrid_dist.text import json_text
from hybrid_dist.tracking.metrics_log import MetricsLog
from hybrid_dist.tracking.report_json import MADE_FROM, REPORT, read_report
from hybrid_dist.training.checkpoint.manifest import latest_step
from hybrid_dist.training.run_folder import RunFolder

State = Literal["finished", "to evaluate", "interrupted", "failed", "to run"]
STUDY_FILE = "study.json"


@dataclass(frozen=True)
class RunRecord:
    """What the study has noted of a run, in OUT/logs/RUN.json."""

    trained: bool = False
    reason: str = ""
    """Why it failed; empty if it did not."""
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    memory: int = 0
    """Peak main memory of one process in bytes; 0: not known."""


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    run: CellRun
    state: State
    record: RunRecord

    @property
    def reason(self) -> str:
        return self.record.reason if self.state == "failed" else ""


def log_file(grid: Grid, run: CellRun, suffix: str) -> Path:
    """OUT/logs/RUN.SUFFIX: its output (log), its record (json) and its config (yaml)."""
    return log_path(grid.out, run.name, suffix)


def log_path(out: Path, run: str, suffix: str) -> Path:
    """The same of a run by its name, in the folder of any study."""
    return out / "logs" / f"{run.replace('/', '.')}.{suffix}"


def read_record(file: Path) -> RunRecord:
    """The record of a run; an empty one if there is none or it cannot be read."""
    try:
        return RunRecord(**read_json(file))
    except (UserError, TypeError):
        return RunRecord()


def write_record(grid: Grid, run: CellRun, record: RunRecord) -> None:
    file = log_file(grid, run, "json")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json_text(asdict(record)) + "\n", durable=False)


def write_config(grid: Grid, run: CellRun) -> Path:
    """The file with the config of a run."""
    file = log_file(grid, run, "yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, to_yaml(run.config), durable=False)
    return file


def state_of(grid: Grid, run: CellRun) -> RunState:
    """How a run stands by its folder and its record."""
    record = read_record(log_file(grid, run, "json"))
    state: State = "to run"
    if is_trained(run, record):
        state = "to evaluate" if missing_tasks(run) else "finished"
    elif RunFolder(run.config).interrupted.exists() or latest_step(run.folder / "checkpoints"):
        state = "interrupted"
    if record.reason and state != "finished":
        state = "failed"
    return RunState(run, state, record)


def is_trained(run: CellRun, record: RunRecord) -> bool:
    """Whether a run has nothing left to train; an untrained model, whether it was written."""
    folder = RunFolder(run.config)
    if folder.interrupted.exists() or not (folder.model / "config.json").is_file():
        return False
    if run.cell.is_untrained or record.trained:
        return True
    if step_of(run) >= run.config.train.steps:
        return True
    own = [label_of(spec) for spec in run.config.eval.tasks]  # written at the very end
    return bool(own) and all((folder.evaluation() / name / REPORT).is_file() for name in own)


def step_of(run: CellRun) -> int:
    """The last step that a run has logged."""
    records = MetricsLog(run.folder / "metrics.jsonl").read()
    return int(records[-1]["step"]) if records else 0


def missing_tasks(run: CellRun) -> list[str]:
    """The labels of the tasks that a run has no report on."""
    return [label for label, spec in run.tasks.items() if not _is_evaluated(run, label, spec)]


def _is_evaluated(run: CellRun, label: str, spec: str) -> bool:
    """Whether a run has a report on a task, and not on other data under its name."""
    try:
        report = read_report(run.reports(label) / REPORT)
        if recorded := report.get(MADE_FROM):
            return _within_study(recorded["task"]) == _within_study(spec)
        return spec in from_yaml(run.folder / "config.yaml").eval.tasks  # training wrote it
    except UserError:
        return False


def _within_study(spec: str) -> str:
    """A task of recipe pairs without the folder of its study, which may have moved."""
    name, _, path = spec.partition(":")
    _, is_recipe, inside = path.rpartition(f"/{RECIPES}/")
    return f"{name}:{inside}" if is_recipe else spec


def seconds_of(states: Sequence[RunState], cell: Cell | None = None) -> float | None:
    """The mean time of the finished runs of a cell, or of all; None if there is none."""
    times = [
        state.record.train_seconds + state.record.evaluate_seconds
        for state in states
        if state.state == "finished" and not state.run.cell.is_untrained
        if cell is None or state.run.cell is cell
    ]
    times = [time for time in times if time]
    return sum(times) / len(times) if times else None


def check_folder(grid: Grid) -> dict[str, Any]:
    """Refuse the folder of another study; returns the cells that the folder is known to have.

    The same study may have gained or lost seeds, cells, tasks and plots since.
    """
    file = grid.out / STUDY_FILE
    if not file.is_file():
        if grid.out.is_dir() and any(path.name != RECIPES for path in grid.out.iterdir()):
            raise UserError(f"{grid.out}: holds files but no study; choose another --out")
        return {}
    note = read_note(grid.out)
    other = f"{grid.out}: holds another study"
    if note.get("name") != grid.study.name:
        raise UserError(f"{other}, {note.get('name')!r}; choose another --out")
    for name, identity in identities(grid).items():
        before = note["cells"].get(name, identity)
        if "seed" in identity:  # of untrained models; older notes do not say it
            before.setdefault("seed", identity["seed"])
        for key in dict.fromkeys([*before, *identity]):
            if before.get(key) != identity.get(key):
                raise UserError(
                    f"{other}: in its cell {name}, {key} is {before.get(key)!r}, and in this file "
                    f"{identity.get(key)!r}; choose another --out, or another name for the cell"
                )
    cells: dict[str, Any] = note["cells"]
    return cells


def claim_folder(grid: Grid) -> None:
    """Note the study and its cells in its folder, unless the folder belongs to another study."""
    cells = check_folder(grid) | identities(grid)
    grid.out.mkdir(parents=True, exist_ok=True)
    content = {"name": grid.study.name, "file": grid.study.model_dump(mode="json"), "cells": cells}
    write_atomically(grid.out / STUDY_FILE, json_text(content, indent=1) + "\n")


def read_note(out: Path) -> dict[str, Any]:
    """The name, file and cells of the study in a folder.

    Cells are as this version would note them: keys that an older one did not know have their
    defaults, and untrained models have none of training.
    """
    file = out / STUDY_FILE
    note = read_json(file, "the note of a study")
    if not isinstance(note, dict) or not isinstance(note.get("cells"), dict):
        raise UserError(f"{file}: is not the note of a study")
    defaults = _as_noted(identity_values(Config()))
    for name, cell in note["cells"].items():
        whole = {**defaults, **cell}
        note["cells"][name] = identity_of_untrained(whole) if whole["untrained"] else whole
    return note


def identities(grid: Grid) -> dict[str, Any]:
    """What makes each cell, as JSON gives it back."""
    return _as_noted({cell.name: cell.identity() for cell in grid.cells})


def _as_noted(content: dict[str, Any]) -> dict[str, Any]:
    read_back: dict[str, Any] = json.loads(json_text(content))
    return read_back
