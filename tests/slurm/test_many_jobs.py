"""Jobs that belong together: a sweep over overrides, and the pipeline from pairs to a report."""

import re

import pytest

from tests.slurm.cluster import wait_for
from tests.slurm.jobs import DEMO, FOR_EVER, TASKS, Site, options

pytestmark = pytest.mark.long
OVERRIDES = """# four runs
--seed 1

--seed 2 --run.name 'of another name'
--batching.mix.monolingual 0
--seed 4
"""


@pytest.mark.thorough
def test_a_sweep_of_four_runs_two_at_a_time(site: Site) -> None:
    (site.folder / "grid.txt").write_text(OVERRIDES)
    words = ["--array=1-4%2", "--nodes=1", "slurm/sweep.sbatch"]  # there is room for eight
    job = site.sbatch(*words, DEMO, "grid.txt", *options("ignored")[4:], "--run.dir", "runs")
    most = 0

    def ended() -> bool:
        nonlocal most
        states = site.cluster.command("squeue", "-h", "-r", "-j", job, "-o", "%T").split()
        most = max(most, states.count("RUNNING"))
        return not states

    wait_for("the sweep", ended)
    assert most == 2
    seeds = {}
    for name in ("grid-1", "of another name", "grid-3", "grid-4"):
        assert len(site.metrics(name)) == 12, site.output(f"{job}_1")
        text = (site.folder / "runs" / name / "config.yaml").read_text()
        seeds[name] = re.findall(r"(?m)^seed: (.*)|mix:\n +monolingual: (.*)", text)
    assert seeds["of another name"][0][0] == "2" and seeds["grid-4"][0][0] == "4"
    assert seeds["grid-3"] == [("1", ""), ("", "0.0")]


def test_a_sweep_beyond_its_lines_reports_their_number(site: Site) -> None:
    (site.folder / "grid.txt").write_text(OVERRIDES)
    job = site.sbatch("--array=5", "--nodes=1", "slurm/sweep.sbatch", DEMO, "grid.txt")
    assert site.cluster.wait(job)["JobState"] == "FAILED"
    assert "grid.txt has 4 runs and this is number 5" in site.output(f"{job}_5")


def test_the_pipeline_goes_from_pairs_to_a_report(site: Site, whole: str) -> None:
    beside = {"EVALUATE_OPTIONS": "--nodes=2", "COMPARE": f"runs/{whole}"}
    output = site.run("slurm/pipeline.sh", DEMO, *options("piped", **TASKS), **beside)
    jobs = re.findall(r"job (\d+)", output)
    assert [line.split()[0] for line in output.splitlines()] == [
        "prepare", "train", "evaluate", "compare",
    ]  # fmt: skip
    for job in jobs:
        site.succeed(job)
    assert (site.folder / "stores/piped-1/manifest.json").exists()
    assert len(site.metrics("piped")) == 12
    report = (site.folder / "results/piped/report.md").read_text()
    assert "| piped |" in report and f"| {whole} |" in report, report


def test_where_a_job_of_the_pipeline_fails_the_others_are_cancelled(site: Site) -> None:
    wrong = options("broken", **TASKS, data__train="nowhere.jsonl")
    output = site.run("slurm/pipeline.sh", DEMO, *wrong)
    first, *others = re.findall(r"job (\d+)", output)
    assert site.cluster.wait(first)["JobState"] == "FAILED"
    for job in others:
        assert site.cluster.wait(job)["JobState"] == "CANCELLED"


def test_stop_inside_a_pipeline_cancels_what_follows(site: Site) -> None:
    """A run that a person has stopped is not evaluated."""
    output = site.run("slurm/pipeline.sh", DEMO, *options("halted", **TASKS | FOR_EVER))
    _, train, *others = re.findall(r"job (\d+)", output)
    site.wait_for_step("halted", 3)
    (site.folder / "runs/halted/STOP").touch()
    ended = site.cluster.wait(train)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "3:0"), site.output(train)
    assert site.ended("halted")["message"] == "STOP"
    for job in others:
        assert site.cluster.wait(job)["JobState"] == "CANCELLED"
