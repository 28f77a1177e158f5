"""All ranks together hold the plan's batch, each row once, whatever their number."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import open_sources
from tests.support.launch import launch, script

SCRIPT = script("feeds")
SIZE, STEPS, FIRST = 25, 6, 7  # from a later step, as after a resume; ranks differ by a row


def feeds(processes: int, toy: Path) -> Iterator[dict[str, Any]]:
    words = [*SCRIPT, str(toy), *map(str, (SIZE, STEPS, FIRST))]
    done = launch("cpu", processes, words)
    assert done.code == 0, done.output
    for line in done.output.splitlines():
        if "FEED " in line:
            yield json.loads(line.partition("FEED ")[2])


@pytest.mark.parametrize("processes", [3, pytest.param(2, marks=pytest.mark.long)])
def test_ranks_hold_the_plans_rows(processes: int, toy: Path) -> None:
    stores, sources = open_sources([str(toy / "train.jsonl")])
    mix = Mix(monolingual=1, cross_lingual=1, multilingual=1)
    plan = Plan(sources, Batching(size=SIZE, mix=mix), seed=3)
    records = list(feeds(processes, toy))
    assert [record["step"] for record in records] == list(range(FIRST, FIRST + STEPS))
    for record in records:
        batch = plan.batch(record["step"])
        gathered = [uid for rank in record["ranks"] for uid in rank["uids"]]
        assert record["kind"] == batch.kind
        assert sorted(gathered) == sorted(stores[0].uids(batch.query_row))
        assert len({rank["chunks"] for rank in record["ranks"]}) == 1
        assert max(len(rank["uids"]) for rank in record["ranks"]) == -(-SIZE // processes)
        assert all(rank["texts_right"] for rank in record["ranks"])
