"""The real batch files on a real cluster: training is that of one process, and mistakes end it."""

import re
from typing import Any

import pytest

from tests.slurm.jobs import STEPS, Site

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("processes", "environment"), [(1, "NONE"), pytest.param(2, "ALL", marks=pytest.mark.thorough)]
)
def test_two_nodes_train_as_one_process(
    processes: int, environment: str, site: Site, whole: str
) -> None:
    """Also where sbatch passes no environment on: site.env sets what is needed."""
    name = f"two-by-{processes}"
    steps = STEPS | {"train__steps": 20}
    words = ("--nodes=2", f"--export={environment}")
    log = site.succeed(site.train(name, *words, processes=processes, **steps))
    assert f"{2 * processes} x cpu (ddp, fp32)" in log, log
    site.assert_same_curve(name, whole, 20)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optim__lr": -1}, "optim.lr"),
        ({"data__train": "nowhere.jsonl"}, "error: nowhere.jsonl: no such file"),
    ],
    ids=["refused before nodes are allocated", "refused by the run"],
)
def test_a_wrong_config_fails_once(wrong: dict[str, Any], message: str, site: Site) -> None:
    job = site.train("wrong", "--nodes=1", **wrong)
    ended = site.cluster.wait(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "2:0", "0")
    assert site.output(job).count(message) == 1, site.output(job)
    assert not (site.folder / "runs/wrong").exists()


def test_an_allocated_gpu_that_is_missing_is_reported(site: Site) -> None:
    job = site.train("blind", "--nodes=1", "--gpus-per-node=1")
    assert site.cluster.wait(job)["JobState"] == "FAILED"
    assert "1 GPUs were allotted here and PyTorch sees 0" in site.output(job)


def test_the_head_has_an_address_that_other_nodes_reach(site: Site) -> None:
    version = ("slurm/command.sbatch", "--version")
    log = site.succeed(site.sbatch(*version, NETWORK_INTERFACE="eth0"))
    assert f"head {site.cluster.address('node1')}:2" in log, log
    assert "GLOO_SOCKET_IFNAME=eth0" in log, log
    job = site.sbatch(*version, NETWORK_INTERFACE="lo")
    assert site.cluster.wait(job)["ExitCode"] == "2:0"
    assert "no address that other nodes reach (found '127.0.0.1')" in site.output(job)


def test_the_doctor_examines_an_allocation(site: Site) -> None:
    """What is found is this machine's affair; that it is found on both nodes is ours."""
    job = site.sbatch("--nodes=2", "slurm/doctor.sbatch")
    site.cluster.wait(job)
    log = site.output(job)
    assert "what to do" in log, log
    assert "all-gather" in log, log
    assert re.search(r"[│|] machines +[│|] ok ", log), log
    assert f"node1 is {site.cluster.address('node1')}" in log, log
