"""Gradients in bf16 and fp16, under each strategy, against one process in float64."""

from pathlib import Path

import pytest

from tests.support.launch import TORCHRUN, launch, run
from tests.support.low_precision import (
    CHUNKS,
    NAMES,
    SCRIPT,
    assert_chunks_cost_memory_only,
    assert_the_loss_is_given_fp32,
)
from tests.support.updates import results


def test_bf16_gradients_under_ddp_do_not_depend_on_chunks(toy: Path) -> None:
    measured = results(launch("cpu", 2, [*SCRIPT, str(toy), "bf16", *NAMES]))
    assert_chunks_cost_memory_only(measured, "gradient_error", worst=0.02)
    assert_the_loss_is_given_fp32(measured)


@pytest.mark.parametrize(
    ("precision", "worst"),
    [("bf16", 0.02), pytest.param("fp16", 0.003, marks=pytest.mark.long)],
)
def test_gradients_under_fsdp2_do_not_depend_on_chunks(
    precision: str, worst: float, toy: Path
) -> None:
    """Those of matrices: a CPU sums the gradients of biases over tokens in bf16, a GPU in fp32."""
    measured = results(run([*TORCHRUN, "2", *SCRIPT, str(toy), precision, *NAMES]))
    assert_chunks_cost_memory_only(measured, "matrix_error", worst)
    assert_the_loss_is_given_fp32(measured)


@pytest.mark.parametrize("launcher", ["zero2", pytest.param("zero3", marks=pytest.mark.long)])
def test_bf16_gradients_under_zero_do_not_depend_on_chunks(launcher: str, toy: Path) -> None:
    measured = results(launch(launcher, 2, [*SCRIPT, str(toy), "bf16", *CHUNKS]))
    assert_chunks_cost_memory_only(measured, "matrix_error", worst=0.02)
    for result in measured.values():
        assert set(result["dtypes"]) == {"float32"}, result  # fp16 may skip a step first
