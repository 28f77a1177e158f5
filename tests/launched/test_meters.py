"""The meters of several ranks are those of one process, by plain float64 arithmetic."""

from pathlib import Path

import pytest

from tests.support.meters import assert_meters, records


@pytest.mark.parametrize(
    "processes",
    [3, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)],
)
def test_meters_are_those_of_whole_batches(processes: int, toy: Path) -> None:
    assert_meters(records("cpu", processes, toy), processes, 2e-5)
