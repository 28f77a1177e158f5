"""Stores on a disk that nodes share."""

import json

import pytest

from tests.slurm.jobs import Site

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
