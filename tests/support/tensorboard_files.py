"""Reads event files back, as TensorBoard does."""

from pathlib import Path
from typing import Any

from hybrid_dist.tracking.tensorboard_log import FOLDER


def viewer(run: Path) -> Any:
    """What TensorBoard keeps of a run; `Reload` reads what is new."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run / FOLDER)).Reload()


def points(run: Path, name: str) -> list[tuple[int, float]]:
    """The steps and values of a figure."""
    return points_of(viewer(run), name)


def points_of(shown: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in shown.Reload().Scalars(name)]
