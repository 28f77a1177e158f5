"""Jobs as a user submits them: runs of the demo, and their results."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.slurm.cluster import Cluster, wait_for

SUBMIT = 'source slurm/site.env && exec "$@"'
DEMO = "configs/demo.yaml"
ALL_STEPS = 90
STEPS: dict[str, Any] = {
    "train__steps": ALL_STEPS,
    "batching__size": 64,
    "checkpoint__every": 6,
    "optim__schedule": "constant",
}
"""A run that is long enough to be interrupted."""
FOR_EVER = STEPS | {"train__steps": 100_000}
RANK, LAUNCHER = "-m hybrid_dist.train", "-m hybrid_dist.runtime.launcher"
TOLD = r"""#!/bin/bash
#SBATCH --requeue --open-mode=append
source "$SLURM_SUBMIT_DIR/slurm/common.sh"
source "$SLURM_SUBMIT_DIR/slurm/requeue.sh"
take_notes_in runs
ends() {
    printf '{\n "kind": "%s",\n "node": null,\n "message": "%s"\n}\n' "$@" >"$HYBRID_DIST_ENDED"
    end_or_go_on 1 "checkpoint none"
}
"""
"""The head of a batch file without a program: `ends KIND MESSAGE` is what one would have said."""
ARRAY_LOG = "--output=%x-%A_%a.out"
TASKS = {"eval__tasks": "toy:runs/demo/toy"}
"""For a run that is to be evaluated."""


def options(name: str, **changed: object) -> list[str]:
    """The demo, smaller and without dropout; keys are config keys with __ for the dot."""
    values = {
        "run__dir": "runs",
        "run__name": name,
        "model__dropout": 0,
        "model__attention_dropout": 0,
        "batching__size": 33,
        "eval__every": 0,
        "eval__tasks": [],
        "data__dev": [],
        "train__steps": 12,
        "log__every": 1,
        "log__wandb": "disabled",
    } | changed
    words = []
    for key, value in values.items():
        words += [f"--{key.replace('__', '.')}", *([] if value == [] else [str(value)])]
    return words


@dataclass(frozen=True)
class Site:
    """A user's folder on a cluster."""

    cluster: Cluster
    folder: Path

    def sbatch(self, *words: str, **environment: str) -> str:
        """`source slurm/site.env && sbatch ...`: the job's number."""
        output = self.run("sbatch", "--parsable", *words, **environment)
        return output.splitlines()[-1]

    def run(self, *words: str, **environment: str) -> str:
        """What a command of the login node prints."""
        return self.cluster.command(
            "bash", "-c", SUBMIT, "user", *words, folder=self.folder, **environment
        )

    def train(self, name: str, *sbatch: str, processes: int = 1, **changed: object) -> str:
        """A run of the demo as a job."""
        words = ["slurm/train.sbatch", DEMO, *options(name, **changed)]
        return self.sbatch(*sbatch, *words, PROCESSES_PER_NODE=str(processes))

    def train_here(self, name: str, **changed: object) -> None:
        """The same in one process, without SLURM."""
        command = [sys.executable, "-m", "hybrid_dist.train", "--config", DEMO]
        subprocess.run([*command, *options(name, **changed)], cwd=self.folder, check=True)

    def output(self, job: str) -> str:
        """The job's one log."""
        files = sorted(self.folder.glob(f"*-{job}.out"))
        return files[0].read_text() if files else ""

    def starts(self, job: str) -> int:
        return self.output(job).count(f"job {job}, start ")

    def succeed(self, job: str) -> str:
        """Wait until the job has succeeded; its log."""
        state = self.cluster.wait(job)["JobState"]
        assert state == "COMPLETED", f"{state}\n{self.output(job)}"
        return self.output(job)

    def metrics(self, name: str) -> list[dict[str, Any]]:
        file = self.folder / "runs" / name / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for_step(self, name: str, step: int) -> None:
        wait_for(f"step {step} of {name}", lambda: len(self.metrics(name)) >= step)

    def rank_on(self, node: str) -> int:
        """The process that trains on a node, of a launcher's; once there is one."""

        def found() -> list[int]:
            lines = self.cluster.processes(node).items()
            return [pid for pid, line in lines if RANK in line and LAUNCHER not in line]

        wait_for(f"a rank on {node}", found)
        return found()[0]

    def ended(self, name: str) -> dict[str, Any]:
        """How the last start of a run ended."""
        ending: dict[str, Any] = json.loads(
            (self.folder / "runs" / name / "ended.json").read_text()
        )
        return ending

    def latest(self, name: str) -> int:
        """The step of the last checkpoint."""
        file = self.folder / "runs" / name / "checkpoints/latest"
        return int(file.read_text().split()[0].removeprefix("step-"))

    def assert_same_curve(self, name: str, other: str, steps: int = ALL_STEPS) -> None:
        """The first steps have the same losses and gradients, but for rounding."""
        mine, wanted = self.metrics(name), self.metrics(other)[:steps]
        assert [record["step"] for record in mine] == [record["step"] for record in wanted]
        for key in ("train/loss", "train/grad_norm"):
            one = np.array([record[key] for record in mine])
            two = np.array([record[key] for record in wanted])
            assert np.max(np.abs(one / two - 1)) < 1e-4, (key, one, two)
