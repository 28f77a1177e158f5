"""How long parts of a step take, without making the host wait for the device."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Seconds of named parts: by events in the device's own queue, by the clock on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._parts: list[tuple[str, Any, Any]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is inside; parts of one name add up."""
        begin = self._mark()
        yield
        self._parts.append((name, begin, self._mark()))

    @property
    def ready(self) -> bool:
        """Whether the device has come to the end of what was timed."""
        return not self._on_gpu or not self._parts or bool(self._parts[-1][2].query())

    def seconds(self) -> dict[str, float]:
        """By name; the host waits where it is not ready."""
        if not self.ready:
            self._parts[-1][2].synchronize()
        seconds: dict[str, float] = defaultdict(float)
        for name, begin, end in self._parts:
            seconds[name] += begin.elapsed_time(end) / 1000 if self._on_gpu else end - begin
        return dict(seconds)

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
