"""Interrupted jobs: each run resumes exactly, or ends as it should."""

import pytest

from tests.slurm.cluster import NODES, wait_for
from tests.slurm.jobs import ARRAY_LOG, FOR_EVER, LAUNCHER, STEPS, TOLD, Site

pytestmark = pytest.mark.long


def test_usr2_saves_and_puts_the_job_back_into_the_queue(site: Site, whole: str) -> None:
    job = site.train("usr2", "--nodes=2", **STEPS)
    site.wait_for_step("usr2", 5)
    site.cluster.command("scancel", "--full", "--signal=USR2", job)
    log = site.succeed(job)
    assert "stopped (SIGUSR2), requeued; checkpoint step-" in log, log
    assert site.starts(job) == 2
    assert "resumed from" in log
    site.assert_same_curve("usr2", whole)
    assert not (site.folder / "runs/usr2/interrupted").exists()
    assert not list((site.folder / "runs").glob(".requeues*"))


def test_usr2_before_the_program_hears_it_puts_the_job_back(site: Site) -> None:
    """While launchers are being imported USR2 ends them, and no word can be left."""

    def launching() -> bool:
        return any(LAUNCHER in line for line in site.cluster.processes("node1").values())

    job = site.train("early", "--nodes=1", processes=2)
    wait_for("a launcher", launching)
    site.cluster.command("scancel", "--full", "--signal=USR2", job)
    log = site.succeed(job)
    assert "stopped (USR2, before the program could handle it), requeued" in log, log
    assert site.starts(job) == 2
    assert len(site.metrics("early")) == 12


@pytest.mark.thorough
def test_the_time_limit_saves_and_puts_the_job_back_into_the_queue(site: Site) -> None:
    """SLURM looks at its time limits every half minute."""
    job = site.train("limit", "--nodes=1", processes=2, **FOR_EVER)
    site.wait_for_step("limit", 5)
    site.cluster.command("scontrol", "update", f"job={job}", "TimeLimit=1")
    wait_for("the signal", lambda: ", requeued;" in site.output(job))
    site.cluster.command("scontrol", "update", f"job={job}", "TimeLimit=600")
    saved = site.latest("limit")
    site.wait_for_step("limit", saved + 10)
    (site.folder / "runs/limit/STOP").touch()
    ended = site.cluster.wait(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "3:0")
    log = site.output(job)
    assert site.starts(job) == 2, "a person's STOP does not put it back"
    assert f"step {saved}" in log.partition("resumed from")[2], log


@pytest.mark.thorough
def test_a_preempted_job_continues_with_fewer_nodes(site: Site, whole: str) -> None:
    """A higher partition takes one of two nodes, for longer than the run lasts."""
    job = site.train("preempted", "--nodes=1-2", **STEPS)
    site.wait_for_step("preempted", 5)
    assert site.cluster.job(job)["NumNodes"] == "2"
    other = site.cluster.command(
        "sbatch", "--parsable", "-p", "high", "--nodes=1", "-c4", "--wrap", "sleep 600",
        folder=site.folder,
    )  # fmt: skip
    log = site.succeed(job)
    assert site.cluster.state(other) == "RUNNING"
    assert site.cluster.job(job)["NumNodes"] == "1"
    assert "resumed from" in log and site.starts(job) == 2, log
    site.assert_same_curve("preempted", whole)


@pytest.mark.thorough
def test_a_job_that_loses_a_node_continues_from_its_last_checkpoint(site: Site, whole: str) -> None:
    """A node without power sends nothing: the others wait, and SLURM notices."""
    job = site.train("lost", "--nodes=2", **STEPS)
    site.wait_for_step("lost", 8)
    site.cluster.power_off("node2")
    wait_for("SLURM to notice", lambda: site.cluster.state(job) != "RUNNING")
    site.cluster.power_on("node2")
    log = site.succeed(job)
    assert "resumed from" in log and site.starts(job) == 2, log
    site.assert_same_curve("lost", whole)


def test_scancel_leaves_no_process(site: Site) -> None:
    job = site.train("cancelled", "--nodes=2", processes=2, **FOR_EVER)
    site.wait_for_step("cancelled", 5)
    assert all(len(site.cluster.processes(name)) > 2 for name in NODES)
    site.cluster.command("scancel", job)
    wait_for("all to end", lambda: not any(site.cluster.processes(name) for name in NODES))
    ended = site.cluster.wait(job)
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")


def test_what_makes_no_progress_is_put_back_only_so_often(site: Site) -> None:
    """In an array each job is counted and requeued by itself."""
    (site.folder / "stuck.sbatch").write_text(TOLD + "ends stopped SIGUSR2\n")
    job = site.sbatch("--array=1-2", ARRAY_LOG, "stuck.sbatch", MAX_REQUEUES_WITHOUT_PROGRESS="1")
    for member in (f"{job}_1", f"{job}_2"):
        ended = site.cluster.wait(member)
        assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "1"), site.output(member)
        assert "1 starts in a row made no progress beyond checkpoint none" in site.output(member)
        assert site.output(member).count("requeued; checkpoint") == 1
