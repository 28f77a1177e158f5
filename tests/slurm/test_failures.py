"""Jobs whose run fails: which failures put them back into the queue, and without which node."""

import os
import signal
import time

import pytest

from tests.slurm.cluster import wait_for
from tests.slurm.jobs import ARRAY_LOG, STEPS, TOLD, Site

pytestmark = pytest.mark.long

ENDED = """
KINDS=('' refused 'not finite' 'disk full' 'out of memory' finished crash hang)
ends "${KINDS[SLURM_ARRAY_TASK_ID]}" why
"""
LATE = """
until [[ -e stop ]]; do sleep 0.2; done
((${SLURM_RESTART_COUNT:-0} == 0)) || ends finished ''
ends stopped SIGUSR2
"""


def test_a_node_whose_ranks_crash_and_hang_is_excluded(site: Site, whole: str) -> None:
    """Both failures are those of a rank on node2; what remains is one node."""
    job = site.train("failing", "--nodes=1-2", hang_minutes__step=0.25, **STEPS)
    site.wait_for_step("failing", 8)
    os.kill(site.rank_on("node2"), signal.SIGKILL)
    wait_for("the second start", lambda: site.starts(job) == 2)
    saved = site.latest("failing")
    wait_for("a newer checkpoint", lambda: site.latest("failing") > saved)
    os.kill(site.rank_on("node2"), signal.SIGSTOP)
    log = site.succeed(job)
    assert "crash on node2 (rank 1 on node2 was killed by SIGKILL), requeued; check" in log, log
    assert "hang on node2 (no progress for 0.25 minutes" in log, log
    ended = site.cluster.job(job)
    assert (ended["ExcNodeList"], ended["NumNodes"], ended["Restarts"]) == ("node2", "1", "2")
    site.assert_same_curve("failing", whole)
    assert {key: site.ended("failing")[key] for key in ("kind", "rank", "step")} == {
        "kind": "finished",
        "rank": 0,
        "step": 90,
    }


def test_only_failures_that_may_pass_put_a_job_back(site: Site) -> None:
    """And only once, where no checkpoint is newer than that of the failure before."""
    (site.folder / "ended.sbatch").write_text(TOLD + ENDED)
    job = site.sbatch("--array=1-7", ARRAY_LOG, "ended.sbatch")
    found = {}
    for member in range(1, 8):
        ended = site.cluster.wait(f"{job}_{member}")
        found[member] = ended["JobState"], ended["ExitCode"], ended["Restarts"]
    assert found == {
        **dict.fromkeys((1, 2, 3, 4), ("FAILED", "2:0", "0")),
        5: ("COMPLETED", "0:0", "0"),
        **dict.fromkeys((6, 7), ("FAILED", "1:0", "1")),
    }
    log = site.output(f"{job}_6")
    assert "crash (why); the start before failed too, and there is no progress beyond" in log


@pytest.mark.thorough
def test_a_lone_process_that_is_killed_is_put_back(site: Site, whole: str) -> None:
    """Nothing is left that could write how it ended."""
    job = site.train("alone", "--nodes=1", **STEPS)
    site.wait_for_step("alone", 8)
    os.kill(site.rank_on("node1"), signal.SIGKILL)
    log = site.succeed(job)
    assert "crash on node1 (exit code 137), requeued; checkpoint step-" in log, log
    site.assert_same_curve("alone", whole)


@pytest.mark.thorough
def test_a_controller_that_is_down_for_a_minute_is_waited_for(site: Site) -> None:
    """The run has stopped, and no one can be told to put the job back."""
    (site.folder / "late.sbatch").write_text(TOLD + LATE)
    job = site.sbatch("--output=%x-%j.out", "late.sbatch")
    wait_for("the job", lambda: site.starts(job) == 1)
    site.cluster.stop_controller()
    try:
        (site.folder / "stop").touch()
        time.sleep(60)
        assert site.starts(job) == 1
    finally:
        site.cluster.start_controller()
    log = site.succeed(job)
    assert "stopped (SIGUSR2), requeued; checkpoint none" in log, log
    assert site.starts(job) == 2
