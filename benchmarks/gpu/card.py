"""What the GPU benchmarks share: the device, a clock that waits for it, and records of results."""

import argparse
import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Card:
    """The device under test, and the results measured on it.

    Every result is printed and appended to `$OUT/NAME.jsonl`, so that a run that is cut short
    leaves what it has measured.
    """

    def __init__(self, name: str, description: str | None) -> None:
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawTextHelpFormatter
        )
        parser.add_argument("--seconds", type=float, default=600, help="leave out what takes more")
        parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on the CPU")
        parser.add_argument("--only", default="", help="parts to run, separated by commas")
        options = parser.parse_args()
        self.dry: bool = options.dry_run
        self.device = torch.device("cpu" if self.dry else "cuda")
        self._only = set(filter(None, options.only.split(",")))
        self._deadline = time.perf_counter() + options.seconds
        self._begin = time.perf_counter()
        out = os.environ.get("OUT")
        self._file = Path(out, f"{name}.jsonl") if out else None
        self.record("device", name=self.name, torch=torch.__version__)

    @property
    def name(self) -> str:
        return "cpu" if self.dry else torch.cuda.get_device_name()

    def now(self) -> float:
        """Seconds, once the device has done all it was given."""
        if not self.dry:
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, action: Callable[[], object], times: int = 10) -> float:
        """Mean seconds of an action, after one call that warms up."""
        action()
        begin = self.now()
        for _ in range(times):
            action()
        return (self.now() - begin) / times

    def record(self, what: str, **figures: Any) -> None:
        """Print and keep one result."""
        shown = "  ".join(f"{key} {value}" for key, value in figures.items())
        print(f"[{time.perf_counter() - self._begin:6.1f} s] {what}: {shown}", flush=True)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps({"what": what, **figures}, default=str) + "\n")

    def part(self, name: str, needs_s: float, action: Callable[[], object]) -> None:
        """Run one part, unless it was not requested or would take too long; one that fails is
        reported, and does not keep the others from running."""
        if self._only and name not in self._only:
            return
        left = self._deadline - time.perf_counter()
        if left < needs_s:
            self.record(name, skipped=f"{left:.0f} s are left, it needs {needs_s:.0f}")
            return
        try:
            action()
        except Exception as error:
            self.record(name, failed=f"{type(error).__name__}: {str(error)[:300]}")
            traceback.print_exc(limit=-5)
        self.reset_memory()

    def reset_memory(self) -> None:
        if not self.dry:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gib(self) -> float:
        return 0.0 if self.dry else round(torch.cuda.max_memory_allocated() / 2**30, 1)
