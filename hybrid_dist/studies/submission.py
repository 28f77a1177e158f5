"""A study on a cluster, or as a W&B sweep: the same runs, started by others.

On SLURM the runs are an array of slurm/sweep.sbatch; a job that depends on it writes the report.
"""

import dataclasses
import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.schema import Config, flatten
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import write_atomically
from hybrid_dist.studies.cells import CellRun, Grid
from hybrid_dist.studies.run_states import write_config

SWEEP, COMMAND = "slurm/sweep.sbatch", "slurm/command.sbatch"
JOB = "JOB"
"""In printed lines: the number that sbatch prints for the array."""


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


def write_array(grid: Grid, runs: Sequence[CellRun]) -> tuple[Path, Path]:
    """The config and the file of overrides of an array, one line for each run."""
    base = dataclasses.replace(runs[0].config, run=Config().run)
    lines = [" ".join(map(shlex.quote, flags_of(base, run.config))) for run in runs]
    folder = grid.out / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    config, overrides = folder / "base.yaml", folder / "runs.txt"
    write_atomically(config, to_yaml(base), durable=False)
    write_atomically(overrides, "\n".join(lines) + "\n", durable=False)
    return config, overrides


def sbatch_lines(
    grid: Grid, runs: Sequence[CellRun], at_once: int | None, job: str = JOB
) -> tuple[list[str], list[str]]:
    """The commands that submit the array of runs, and the job that writes the report."""
    folder = grid.out / "slurm"
    limit = "" if at_once is None else f"%{at_once}"
    array = [
        *("sbatch", "--parsable", f"--array=1-{len(runs)}{limit}", *grid.study.slurm, SWEEP),
        *(str(folder / "base.yaml"), str(folder / "runs.txt")),
    ]
    report = [
        *("sbatch", "--parsable", f"--dependency=afterany:{job}", COMMAND, "study"),
        *(str(grid.file), "--report-only", "--out", str(grid.out)),
    ]
    return array, report


def submit(grid: Grid, runs: Sequence[CellRun], at_once: int | None) -> list[str]:
    """Submit the array and the report; returns a line about each job."""
    for script in (SWEEP, COMMAND):
        if not Path(script).is_file():
            raise UserError(
                f"--slurm: no file {script} here; start from the folder that "
                "`hybrid-dist init` has filled"
            )
    lines = []
    job = ""
    if runs:
        write_array(grid, runs)
        array, _ = sbatch_lines(grid, runs, at_once)
        job = _sbatch(array)
        lines.append(f"job {job}: {shlex.join(array)}")
    _, report = sbatch_lines(grid, runs, at_once, job)
    report = [word for word in report if job or not word.startswith("--dependency")]
    lines.append(f"job {_sbatch(report)}: {shlex.join(report)}")
    return lines


def _sbatch(command: Sequence[str]) -> str:
    """The number of a submitted job."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("--slurm: there is no sbatch here; run this on a login node") from None
    if done.returncode:
        raise UserError(f"--slurm: {shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip().splitlines()[-1].partition(";")[0]


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
