"""Curves drawn with braille letters."""

from hybrid_dist.tracking.curves import curve


def test_a_curve_goes_from_the_first_step_to_the_last() -> None:
    assert curve([0, 50], [1.0, 0.0], last=100, width=8, height=2) == [
        "⠙⢦⡀⠀⠀⠀⠀⠀",
        "⠀⠀⠉⠳⡄⠀⠀⠀",
    ]
    assert curve([100], [5.0], last=100, width=2, height=1) == ["⠀⠈"]


def test_steps_that_share_a_column_are_drawn_by_their_mean() -> None:
    many = curve(range(100), [float(step % 2) for step in range(100)], 100, 5, 1)
    assert many == ["⠉" * 5]
