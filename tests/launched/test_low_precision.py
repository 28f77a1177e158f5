"""Gradients in bf16 and fp16, under each strategy, against one process in float64."""

from pathlib import Path
from typing import Any

import pytest

from tests.launched.launch import TORCHRUN, launch, run
from tests.launched.test_updates import results

SCRIPT = str(Path(__file__).with_name("scripts") / "low_precision.py")
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


def test_bf16_gradients_under_ddp_do_not_depend_on_chunks(toy: Path) -> None:
    found = results(launch("cpu", 2, [SCRIPT, str(toy), "bf16", *NAMES]))
    assert_chunks_cost_memory_only(found, "gradient_error", worst=0.02)
    assert_the_loss_is_given_fp32(found)


@pytest.mark.parametrize(
    ("precision", "worst"),
    [("bf16", 0.02), pytest.param("fp16", 0.003, marks=pytest.mark.long)],
)
def test_gradients_under_fsdp2_do_not_depend_on_chunks(
    precision: str, worst: float, toy: Path
) -> None:
    """Those of matrices: a CPU sums the gradients of biases over tokens in bf16, a GPU in fp32."""
    found = results(run([*TORCHRUN, "2", SCRIPT, str(toy), precision, *NAMES]))
    assert_chunks_cost_memory_only(found, "matrix_error", worst)
    assert_the_loss_is_given_fp32(found)


@pytest.mark.parametrize("launcher", ["zero2", pytest.param("zero3", marks=pytest.mark.long)])
def test_bf16_gradients_under_zero_do_not_depend_on_chunks(launcher: str, toy: Path) -> None:
    found = results(launch(launcher, 2, [SCRIPT, str(toy), "bf16", *CHUNKS]))
    assert_chunks_cost_memory_only(found, "matrix_error", worst=0.02)
    for result in found.values():
        assert set(result["dtypes"]) == {"float32"}, result  # fp16 may skip a step first
