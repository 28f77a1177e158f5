"""A study as an array of jobs, and the job that writes its report."""

import re

import pytest

from tests.slurm.jobs import Site
from tests.support.studies import write_study

pytestmark = pytest.mark.long


@pytest.mark.thorough
def test_a_study_is_an_array_and_a_report(site: Site) -> None:
    write_study(site.folder, site.folder / "runs/demo/toy", seeds=[1], untrained=True)
    words = ["python", "-m", "hybrid_dist", "study", "study.yaml", "--slurm"]
    output = site.run(*words)
    array, report = re.findall(r"^job (\d+): sbatch", output, re.MULTILINE)
    site.succeed(report)
    text = (site.folder / "runs/studies/tiny/report.md").read_text()
    assert "| hybrid | 1 of 1 |" in text, site.output(f"{array}_1")
    assert "| untrained | no training |" in text
    assert "runs that failed" not in text and "not finished |" not in text
    again = site.run(*words)
    assert len(re.findall(r"^job \d+: sbatch", again, re.MULTILINE)) == 1, (
        "nothing is left to train"
    )
