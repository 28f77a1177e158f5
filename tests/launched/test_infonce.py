"""InfoNCE in a plain DDP loop under torchrun equals one float64 process with the whole batch."""

import json
from typing import Any

import pytest

from tests.support.launch import TORCHRUN, run, script

SCRIPT = script("infonce_ddp")
TOLERANCE = {"torch.float64": 1e-12, "torch.float32": 2e-6}


def results(processes: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Of every case; and what the last line has, about mistakes and process groups."""
    done = run([*TORCHRUN, str(processes), *SCRIPT])
    lines = [line for line in done.output.splitlines() if "RESULT " in line]
    *cases, last = [json.loads(line.partition("RESULT ")[2]) for line in lines]
    assert done.code == 0, done.output
    return cases, last


@pytest.mark.parametrize(
    "processes",
    [3, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)],
)
def test_loss_and_gradient_under_ddp_equal_one_process(processes: int) -> None:
    cases, last = results(processes)
    assert len(cases) == 12
    for case in cases:
        for dtype, tolerance in TOLERANCE.items():
            loss_error, gradient_error = case[dtype]
            assert loss_error < tolerance, case
            assert gradient_error < tolerance, case
    # without hard negatives it makes no difference whether these would have ids
    assert len({round(case["loss"], 9) for case in cases}) == 10
    for refusals in last["refusals"]:
        assert "no queries on any rank" in refusals["no queries"]
        if processes > 1:
            assert "columns of ids: 1 on rank 0 of the group, 0 on" in refusals["ids on one rank"]
            assert "symmetric: 1 on rank 0 of the group, 0 on" in refusals["symmetric on one rank"]
            assert "the other options (a checksum): " in refusals["dims on one rank"]
            assert "width of vectors: 4 on rank 0 of the group, 5 on" in refusals["other widths"]
    if processes == 3:
        outside, *members = last["groups"]
        assert "not a member" in outside["error"]
        assert all(member["gradient_error"] < 1e-12 for member in members)
