"""`hybrid-dist submit`: a job runs the snapshot of its submission at every start."""

import json

import pytest

from tests.slurm.cluster import NODES
from tests.slurm.jobs import DEMO, STEPS, Site, options

pytestmark = pytest.mark.long


@pytest.mark.thorough
def test_a_submitted_run_keeps_its_code_and_batch_files(site: Site, whole: str) -> None:
    """The job is held while the files that it was submitted from change."""
    resources = ["--nodes", "2", "--cores", "2", "--memory", "2", "--processes-per-node", "1"]
    words = ["submit", DEMO, *resources, "--launcher", "cpu", *options("submitted", **STEPS)]
    output = site.run("python", "-m", "hybrid_dist", *words, "--", "--hold")
    job = output.split(":")[0].removeprefix("job ")
    folder = site.folder / "runs/submitted"
    common = site.folder / "slurm/common.sh"
    before = common.read_text()
    common.write_text("echo changed; exit 1\n")
    try:
        package = folder / "submitted/1/code/hybrid_dist/__init__.py"
        package.write_text(package.read_text() + '\n__version__ = "of the snapshot"\n')
        site.cluster.command("scontrol", "release", job)
        site.wait_for_step("submitted", 5)
        site.cluster.command("scancel", "--full", "--signal=USR2", job)
        state = site.cluster.wait(job)["JobState"]
    finally:
        common.write_text(before)
    log = (folder / f"logs/job-{job}.out").read_text()
    assert state == "COMPLETED", log
    assert site.cluster.job(job)["NumCPUs"] == "4" and "2 CPUs a node" in log
    assert "resumed from" in log
    described = json.loads((folder / "environment.json").read_text())
    assert described["hybrid_dist"] == "of the snapshot"
    site.assert_same_curve("submitted", whole)
    for number, node in enumerate(NODES):
        for start in (1, 2):
            lines = (folder / f"logs/job-{job}-start-{start}-{node}.log").read_text().splitlines()
            assert lines and all(line.startswith(f"{number}: ") for line in lines)
