"""Updates under a launcher, compared with those of one process."""

import json
from typing import Any

import pytest

from tests.support.launch import Done, script

SCRIPT = script("updates")


TOLERANCE = 1e-4


def results(done: Done) -> dict[str, dict[str, Any]]:
    lines = [line for line in done.output.splitlines() if "RESULT " in line]
    records = [json.loads(line.partition("RESULT ")[2]) for line in lines]
    assert done.code == 0 and records, done.output
    return {result["options"]: result for result in records}


def assert_equal_updates(measured: dict[str, dict[str, Any]], names: tuple[str, ...]) -> None:
    assert tuple(measured) == names
    for result in measured.values():
        assert result["gradient_error"] < TOLERANCE, result
        assert result["update_error"] < TOLERANCE, result
        assert result["loss_error"] < TOLERANCE, result
        assert result.get("temperature_error", 0.0) < TOLERANCE, result
        wanted = result["wanted_other_losses"]
        for losses, of_judge in zip(result["other_losses"], wanted, strict=True):
            assert losses == pytest.approx(of_judge, TOLERANCE), result
        assert result["masked"] > 0, "the batches held no false negatives to mask"
