"""Gradients in low precision under a launcher."""

from typing import Any

from tests.support.launch import script

SCRIPT = script("low_precision")


CHUNKS = ("plain", "three chunks", "a row a chunk")


NAMES = (*CHUNKS, "learned temperature")


Measured = dict[str, dict[str, Any]]


def assert_chunks_cost_memory_only(
    measured: Measured, error: str, worst: float, processes: int = 2
) -> None:
    one = measured["plain"][error]
    assert 1e-4 < one < worst, measured
    assert [measured[name]["chunks"] for name in CHUNKS] == [1, 3, 60 // processes]
    for name in CHUNKS:
        assert measured[name][error] - one < 1e-3, (
            measured
        )  # more chunks may happen to be more exact


def assert_the_loss_is_given_fp32(measured: Measured) -> None:
    for result in measured.values():
        assert set(result["dtypes"]) == {"float32"}, result  # fp16 may skip a step first
        assert abs(result["temperature"] / 0.05 - 1) < 1e-6, result
