"""A skipped update changes nothing on the device; the host learns of it a step later."""

from pathlib import Path

import pytest

from tests.support.skipped import assert_skipped


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("cpu", 2),
        ("torchrun", 2),
        pytest.param("cpu", 1, marks=pytest.mark.long),
        pytest.param("zero1", 2, marks=pytest.mark.long),
        pytest.param("zero2", 2, marks=pytest.mark.long),
        pytest.param("zero3", 2, marks=pytest.mark.long),
    ],
)
def test_a_skipped_update_changes_nothing_and_is_not_waited_for(
    launcher: str, processes: int, toy: Path
) -> None:
    assert_skipped(launcher, processes, toy)
