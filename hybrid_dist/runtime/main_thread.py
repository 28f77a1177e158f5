"""Where a thread of this process is, and whether it may be waiting for other ranks."""

import time
from pathlib import Path
from types import FrameType

import torch

PACKAGE, TORCH = Path(__file__).parents[1], Path(torch.__file__).parent
COLLECTIVES = (PACKAGE / "runtime" / "ranks.py", PACKAGE / "runtime" / "meeting.py")
DEVICE_WORK = tuple(PACKAGE / name for name in ("training", "losses", "model"))


class Load:
    """How much of a CPU core this process uses."""

    def __init__(self) -> None:
        self._now = time.monotonic(), time.process_time()

    def share(self) -> float:
        """Since the last call."""
        before, self._now = self._now, (time.monotonic(), time.process_time())
        return (self._now[1] - before[1]) / max(self._now[0] - before[0], 1e-3)


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """The frames of a thread, the innermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def place_of(frames: list[FrameType]) -> str:
    """The innermost line of ours, and the innermost function of all."""
    ours = [frame for frame in frames if PACKAGE in Path(frame.f_code.co_filename).parents]
    if not ours:
        return "its end"
    line = f"{Path(ours[0].f_code.co_filename).relative_to(PACKAGE)}:{ours[0].f_lineno}"
    return f"{line} ({frames[0].f_code.co_qualname})"


def may_wait(frames: list[FrameType], device_type: str) -> bool:
    """Whether the main thread may be waiting for other ranks: in PyTorch or in our collectives.

    On a GPU it also waits wherever it gives the device work or asks for a result, and the device in
    turn for the others' devices.
    """
    if not frames:
        return False
    file = Path(frames[0].f_code.co_filename)
    places = (TORCH, *COLLECTIVES, *(DEVICE_WORK if device_type == "cuda" else ()))
    return any(place == file or place in file.parents for place in places)
