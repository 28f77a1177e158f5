"""`touch RUN/PROFILE`: traces of the next steps, one file for each rank."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.requests import PROFILE

STEPS = 3
"""Steps in a trace."""


class StepProfiler:
    """Writes RUN/profile/ when the file PROFILE asks for it, then removes that file.

    All ranks call the same methods together.
    """

    def __init__(self, run_folder: Path, ranks: Ranks, say: Callable[[str], None]) -> None:
        self._run_folder, self._ranks, self._say = run_folder, ranks, say
        self._profile: Any = None
        self._first = 0

    @property
    def is_on(self) -> bool:
        return self._profile is not None

    def at_edge(self, step: int, wanted: bool) -> None:
        """After a step: begin a trace if it is wanted, or end one that has all its steps."""
        if self._profile is None and wanted:
            activities = [ProfilerActivity.CPU]
            if self._ranks.device.type == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self._first = step + 1
            self._profile = profile(activities=activities, record_shapes=True)
            self._profile.start()
        elif self._profile is not None and step - self._first + 1 >= STEPS:
            self.finish(step)

    def finish(self, step: int) -> None:
        """End a trace, if there is one, that may lack steps when the run ends."""
        if self._profile is None:
            return
        traced, self._profile = self._profile, None
        traced.stop()
        folder = self._run_folder / "profile"
        steps = f"steps-{self._first:06d}-{step:06d}"
        problem = None
        try:
            folder.mkdir(exist_ok=True)
            traced.export_chrome_trace(str(folder / f"{steps}-rank-{self._ranks.rank}.json.gz"))
        except (OSError, RuntimeError) as error:  # a full disk: no reason to end the run
            problem = str(error)
        problems = [text for text in self._ranks.gather(problem) if text]
        if self._ranks.is_first:
            (self._run_folder / PROFILE).unlink(missing_ok=True)
        what = f"not all could be written: {problems[0]}" if problems else str(folder)
        self._say(f"traces of steps {self._first} to {step}: {what}")
