"""Gradients in low precision under a launcher."""

from typing import Any

from tests.support.launch import script

SCRIPT = script("low_precision")


CHUNKS = ("plain", "three chunks", "a row a chunk")


NAMES = (*CHUNKS, "learned temperature")


Found = dict[str, dict[str, Any]]


def assert_chunks_cost_memory_only(
    found: Found, error: str, worst: float, processes: int = 2
) -> None:
    one = found["plain"][error]
    assert 1e-4 < one < worst, found
    assert [found[name]["chunks"] for name in CHUNKS] == [1, 3, 60 // processes]
    for name in CHUNKS:
        assert found[name][error] - one < 1e-3, found  # more chunks may happen to be more exact


def assert_the_loss_is_given_fp32(found: Found) -> None:
    for result in found.values():
        assert set(result["dtypes"]) == {"float32"}, result  # fp16 may skip a step first
        assert abs(result["temperature"] / 0.05 - 1) < 1e-6, result
