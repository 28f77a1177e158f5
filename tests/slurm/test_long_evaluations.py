"""Evaluations that take longer than a job has left: they are stopped, and made up for later."""

import json
from pathlib import Path

import pytest

from hybrid_dist.demo.toy import ToyOptions, generate
from tests.slurm.cluster import wait_for
from tests.slurm.jobs import STEPS, Site

pytestmark = pytest.mark.long


def task(folder: Path, test_uids: int) -> str:
    """So many queries and passages in each of four languages."""
    sizes = {"languages": 4, "train_uids": 20, "dev_uids": 10, "hidden": 32, "heads": 2}
    generate(folder / "toy", ToyOptions(test_uids=test_uids, **sizes))
    return f"toy:{folder}/toy"


@pytest.mark.thorough
def test_usr2_leaves_an_evaluation_to_the_next_start(
    site: Site, tmp_path: Path, whole: str
) -> None:
    changed = STEPS | {"train__steps": 12, "eval__every": 12, "eval__tasks": task(tmp_path, 2000)}
    job = site.train("evaluated", "--nodes=2", **changed)
    run = site.folder / "runs/evaluated"
    wait_for("an evaluation", (run / "model.candidate/config.json").exists)
    site.cluster.command("scancel", "--signal=USR2", job)
    wait_for("its end", lambda: ", requeued;" in site.output(job))
    left = json.loads((run / "evaluation_due.json").read_text())
    assert left["step"] == site.latest("evaluated") == 12
    assert len(site.metrics("evaluated")) == 11, "the record of the step waits for its figures"
    log = site.succeed(job)
    assert "the evaluation of step 12 is left to the next start" in log, log
    assert site.starts(job) == 2
    site.assert_same_curve("evaluated", whole, 12)
    assert ["eval/best" in record for record in site.metrics("evaluated")] == [False] * 11 + [True]
    assert not (run / "evaluation_due.json").exists()


@pytest.mark.thorough
def test_an_evaluation_job_that_is_stopped_is_finished_later(
    site: Site, tmp_path: Path, whole: str
) -> None:
    """By the signal that SLURM sends before a time limit; finished blocks are kept."""
    words = ["--model", f"runs/{whole}", "--task", task(tmp_path, 3000), "--out", "results/late"]
    job = site.sbatch("--nodes=2", "slurm/evaluate.sbatch", *words, "--cache", "cache")
    wait_for("a block", lambda: list((site.folder / "cache").glob("*/*.blocks/*")))
    site.cluster.command("scancel", "--signal=USR2", job)
    log = site.succeed(job)
    assert "stopped by SIGUSR2" in log and "stopped (SIGUSR2), requeued; " in log, log
    assert site.starts(job) == 2
    cached = [line for line in log.splitlines() if " queries are in cache/" in line]
    assert ": 0 of " in cached[0] and ": 0 of " not in cached[-1], cached
    assert (site.folder / "results/late/toy/report.json").exists()
