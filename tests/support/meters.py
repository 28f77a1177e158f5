"""The meters of runs under a launcher."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.launch import launch, script

SCRIPT = script("meters")


OPTIONS = (
    "plain",
    "symmetric",
    "no masks",
    "hard negatives",
    "margin",
    "dims",
    "all",
    "aligned",
)
SLOWEST = {"system/slowest_rank", "system/slowest_node", "system/slowest_pct"}
MEASURED = {"system/data_wait_pct", "system/gather_ms", "system/loss_ms", "system/memory_gib"}


def records(launcher: str, processes: int, toy: Path) -> list[dict[str, Any]]:
    done = launch(launcher, processes, [*SCRIPT, str(toy)])
    assert done.code == 0, done.output
    lines = [line for line in done.output.splitlines() if "RESULT " in line]
    return [json.loads(line.partition("RESULT ")[2]) for line in lines]


def assert_meters(records: list[dict[str, Any]], processes: int, tolerance: float) -> None:
    assert tuple(record["options"] for record in records) == OPTIONS
    for record in records:
        actual, expected = record["actual"], record["expected"]
        times = {f"system/rank_ms/{rank}" for rank in range(processes if processes > 1 else 0)}
        measured = actual.keys() - expected.keys() - {"train/accuracy"}
        assert measured - SLOWEST == MEASURED | times
        waited = 1000 * 0.25
        assert all(waited < actual[name] < 1000 * 60 for name in times)
        assert ("train/align_loss" in actual) == (record["options"] == "aligned")
        assert ("train/accuracy" in expected) == (record["options"] != "no masks")
        for name, value in expected.items():
            assert actual[name] == pytest.approx(value, tolerance, tolerance / 10), name
        kinds = [name for name in actual if name.startswith("train/loss/")]
        pairs = [name for name in actual if name.startswith("train/loss_by_pair/")]
        assert len(kinds) == 3
        assert len([name for name in actual if name.startswith("train/loss_by_language/")]) == 4
        assert len(pairs) > 12, "queries and passages in four languages"
        by_score = actual.get("train/false_negatives/score", 0.0)
        assert (by_score > 0) == (record["options"] == "margin")
        masked = record["options"] != "no masks"
        assert (actual["train/false_negatives"] > 0) == masked
        assert actual["system/data_wait_pct"] == pytest.approx(100 * 6 * 0.25 / 2.0)
        assert actual["system/loss_ms"] > 0
        assert actual["system/gather_ms"] > 0 or processes == 1
        assert 0.05 < actual["system/memory_gib"] < 10
