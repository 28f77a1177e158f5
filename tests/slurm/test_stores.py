"""Stores and corpora on a disk that nodes share."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_dist.commands import evaluate
from tests.slurm.jobs import STEPS, Site
from tests.support.launch import ROOT

pytestmark = pytest.mark.long
PAIRS = 200_000
"""Enough to be busy with for seconds."""


@pytest.mark.thorough
def test_of_two_nodes_that_prepare_one_store_one_builds_it(site: Site) -> None:
    with (site.folder / "many.jsonl").open("w") as pairs:
        for n in range(PAIRS):
            text = {"query": f"what is {n}", "passage": f"a number, {n}", "lang": "en"}
            print(json.dumps(text | {"uid": str(n)}), file=pairs)
    words = ["prepare", "pairs", "many.jsonl", "--out", "stores/shared"]
    together = ["--exclusive", "--array=1-2", "--output=%x-%A_%a.out"]
    job = site.sbatch(*together, "slurm/command.sbatch", *words)
    ended = [site.cluster.wait(f"{job}_{number}") for number in (1, 2)]
    logs = [site.output(f"{job}_{number}") for number in (1, 2)]
    assert {one["NodeList"] for one in ended} == {"node1", "node2"}
    assert sorted(one["JobState"] for one in ended) == ["COMPLETED", "FAILED"], logs
    (refused,) = [log for one, log in zip(ended, logs, strict=True) if one["JobState"] == "FAILED"]
    assert "shared: another process is preparing it; wait for it" in refused
    verified = site.run("python", "-m", "hybrid_dist", "prepare", "--verify", "stores/shared")
    assert "stores/shared" in verified
    left = [path.name for path in (site.folder / "stores").iterdir()]
    assert left == ["shared"], "no draft and no lock"


@pytest.mark.thorough
def test_each_node_trains_from_one_copy_on_its_own_disk(
    site: Site, tmp_path: Path, whole: str
) -> None:
    steps = STEPS | {"train__steps": 20, "data__stage": f"{tmp_path}/$SLURMD_NODENAME"}
    log = site.succeed(site.train("staged", "--nodes=2", processes=2, **steps))
    site.assert_same_curve("staged", whole, 20)
    assert log.count(": copying ") == 2, log
    (one,), (two,) = ([*(tmp_path / node).iterdir()] for node in ("node1", "node2"))
    assert one.name == two.name


@pytest.mark.thorough
def test_two_nodes_share_a_corpus_and_report_what_one_process_does(
    site: Site, tmp_path: Path
) -> None:
    """To the bit, with given vectors; one process of each node reads the files."""
    benchmark = [sys.executable, str(ROOT / "benchmarks/large_corpus.py")]
    data, temporary = tmp_path / "data", tmp_path / "tmp"
    sizes = ["--passages", "20000", "--queries", "100", "--width", "16"]
    subprocess.run([*benchmark, "make", str(data), *sizes], check=True)
    temporary.mkdir()
    words = ["--task", f"beir:{data}/beir", "--embeddings", f"{data}/vectors", "--out"]
    job = site.sbatch(
        *("--nodes=2", "slurm/evaluate.sbatch", *words, "results/two"),
        PROCESSES_PER_NODE="2",
        TMPDIR=str(temporary),
    )
    site.succeed(job)
    evaluate.main([*words, str(tmp_path / "one")])
    one, two = (
        json.loads((out / "beir/report.json").read_text())
        for out in (tmp_path / "one", site.folder / "results/two")
    )
    assert (one.pop("timing")["processes"], two.pop("timing")["processes"]) == (1, 4)
    assert one == two
    assert [list(own.iterdir()) for own in temporary.glob("hybrid_dist-tasks-*")] == [[]]
