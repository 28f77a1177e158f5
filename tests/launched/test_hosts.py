"""The examples for several machines without SLURM: their commands, all on this machine."""

import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.support.launch import ROOT, Done, kill, start
from tests.support.runs import column, options, succeed

STEPS = 4


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What two starts on one machine share."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return {"PORT": str(random.randrange(20_000, 30_000)), "HYBRID_DIST_WORLD_SIZE": "2"}


def together(commands: list[list[str]], environments: list[dict[str, str]]) -> None:
    started = zip(commands, environments, strict=True)
    processes = [start(command, **environment) for command, environment in started]
    try:
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            kill(process)
    for process, output in zip(processes, outputs, strict=True):
        succeed(Done(process.returncode, output))
    assert "2 x cpu (ddp, fp32)" in outputs[0], outputs


def words(toy: Path, runs: Path) -> list[str]:
    return options(toy, runs, "several", train__steps=str(STEPS))


def assert_trained(toy: Path, runs: Path) -> None:
    """As one process with the whole batch."""
    command = [sys.executable, "-m", "hybrid_dist.train"]
    alone = start([*command, *options(toy, runs, "alone", train__steps=str(STEPS))])
    succeed(Done(alone.wait(), ""))
    several, one = (column(runs, name, "train/loss") for name in ("several", "alone"))
    assert len(several) == STEPS
    np.testing.assert_allclose(several, one, rtol=1e-5)


def test_the_job_set_is_consistent() -> None:
    """What a cluster would not notice before ranks wait for each other."""
    job_set, job, pod, container, variables = described()
    name = job_set["metadata"]["name"]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert job["parallelism"] == job["completions"] == int(variables["NODES"])
    assert int(variables["HYBRID_DIST_WORLD_SIZE"]) == job["completions"] * gpus
    replicated = job_set["spec"]["replicatedJobs"][0]["name"]
    assert variables["HEAD"] == f"{name}-{replicated}-0-0.{name}"
    assert pod["terminationGracePeriodSeconds"] > int(variables["PET_SHUTDOWN_TIMEOUT"])
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


@pytest.mark.long
def test_the_pods_of_the_job_set_train_together(
    toy: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    *_, container, variables = described()
    command = [*container["command"], *words(toy, tmp_path)]
    own = variables | environment | {"HEAD": "127.0.0.1", "LAUNCHER": "cpu"}
    del own["HF_HOME"]
    pods = [
        own | {"JOB_COMPLETION_INDEX": str(n), "SITE": str(tmp_path / f"site-{n}")}
        for n in range(2)
    ]
    together([command, command], pods)
    assert_trained(toy, tmp_path)


@pytest.mark.long
def test_two_hosts_train_together_under_torchrun(
    toy: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    script = str(ROOT / "examples/torchrun_hosts.sh")
    commands = [[script, str(n), "2", "127.0.0.1", *words(toy, tmp_path)] for n in range(2)]
    own = environment | {"PROCESSES": "1"}
    together(commands, [own, own])
    assert_trained(toy, tmp_path)


def described() -> tuple[dict[str, Any], ...]:
    """The JobSet, its job, pod and container, and the container's variables."""
    job_set = yaml.safe_load((ROOT / "examples/kubernetes/jobset.yaml").read_text())
    job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    container = pod["containers"][0]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    return job_set, job, pod, container, variables
