"""A study on a cluster, or as a W&B sweep: the same runs, started by others.

On SLURM the runs are an array of slurm/sweep.sbatch; a job that depends on it writes the report.
Both run from a snapshot in OUT/slurm, which holds the array's config and overrides too.
"""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.schema import Config, flatten
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import write_atomically
from hybrid_dist.runtime.slurm_jobs import (
    BATCH_FILES,
    JOB,
    LOGS,
    check_batch_files,
    log_option,
    next_folder,
    submit_job,
    write_snapshot,
)
from hybrid_dist.studies.cells import CellRun, Grid
from hybrid_dist.studies.run_states import write_config

SWEEP, COMMAND = "sweep.sbatch", "command.sbatch"
CONFIG, OVERRIDES = "base.yaml", "runs.txt"


def flags_of(base: Config, config: Config) -> list[str]:
    """The flags that turn one config into another, as training takes them."""
    before, after = flatten(base), flatten(config)
    words: list[str] = []
    for key, value in after.items():
        if value == before[key]:
            continue
        words.append(f"--{key}")
        if isinstance(value, dict):
            words += [str(word) for pair in value.items() for word in pair]
        elif key == "data.train":
            words += _paths(config)
        elif isinstance(value, tuple):
            words += map(str, value)
        else:
            words.append(str(value))
    return words


def _paths(config: Config) -> list[str]:
    """The entries of data.train as flags, which take paths and no settings."""
    for entry in config.data.train:
        if not isinstance(entry, str):
            raise UserError(
                f"data.train: runs of a job array differ in flags, which cannot give the settings "
                f"of {entry.path}; use --wandb-sweep, or one study for each data.train"
            )
    return list(config.data.train_paths)


def array_files(runs: Sequence[CellRun]) -> dict[str, str]:
    """The config and the file of overrides of an array, one line for each run."""
    base = dataclasses.replace(runs[0].config, run=Config().run)
    lines = [" ".join(map(shlex.quote, flags_of(base, run.config))) for run in runs]
    return {CONFIG: to_yaml(base), OVERRIDES: "\n".join(lines) + "\n"}


def submission_folder(grid: Grid) -> Path:
    """The snapshot of the next submission."""
    return next_folder(grid.out / "slurm")


def sbatch_lines(
    grid: Grid, runs: Sequence[CellRun], at_once: int | None, folder: Path, job: str = JOB
) -> tuple[list[str], list[str]]:
    """The commands that submit the array of runs, and the job that writes the report.

    `folder`: the snapshot that they run from.
    """
    limit = "" if at_once is None else f"%{at_once}"
    logs, scripts = folder / "logs", folder / BATCH_FILES
    array = [
        *("sbatch", "--parsable", f"--array=1-{len(runs)}{limit}", log_option(logs, "%x-%A_%a")),
        *(*grid.study.slurm, str(scripts / SWEEP)),
        *(str(folder / CONFIG), str(folder / OVERRIDES)),
    ]
    after = [f"--dependency=afterany:{job}"] if runs else []
    report = [
        *("sbatch", "--parsable", *after, log_option(logs, "%x-%j"), str(scripts / COMMAND)),
        *("study", str(grid.file), "--report-only", "--out", str(grid.out)),
    ]
    return array, report


def submit(grid: Grid, runs: Sequence[CellRun], at_once: int | None) -> list[str]:
    """Submit the array and the report; returns a line about each job."""
    check_batch_files(SWEEP, COMMAND)
    folder = submission_folder(grid)
    logs = folder / "logs"
    write_snapshot(folder, array_files(runs) if runs else {}, {LOGS: str(logs)})
    lines = []
    job = JOB
    if runs:
        array, _ = sbatch_lines(grid, runs, at_once, folder)
        job = submit_job(array, logs)
        lines.append(f"job {job}: {shlex.join(array)}")
    _, report = sbatch_lines(grid, runs, at_once, folder, job)
    lines.append(f"job {submit_job(report, logs)}: {shlex.join(report)}")
    return lines


def write_sweep(grid: Grid, runs: Sequence[CellRun], file: Path) -> None:
    """Write the runs as a W&B sweep: a grid over their config files.

    The agents train in the study's own run folders, so that `--report-only` makes the report.
    """
    configs = [str(write_config(grid, run)) for run in runs if not run.cell.is_untrained]
    sweep: dict[str, Any] = {
        "name": grid.study.name,
        "description": grid.study.question,
        "project": grid.base.log.project,
        "method": "grid",
        "parameters": {"config": {"values": configs}},
        "command": ["${env}", "python", "-m", "hybrid_dist.train", "${args}"],
    }
    text = yaml.safe_dump(json.loads(json.dumps(sweep)), sort_keys=False, allow_unicode=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text, durable=False)
