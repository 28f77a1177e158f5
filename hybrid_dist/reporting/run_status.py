"""What the folder of a run says of it: its state, its records and its config."""

import fcntl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hybrid_dist.config.resolve import from_yaml
from hybrid_dist.config.schema import DEV_LOSS, Config, Run
from hybrid_dist.config.task_names import label_of
from hybrid_dist.errors import UserError
from hybrid_dist.tracking.metrics_log import MetricsLog, Record
from hybrid_dist.training.run_folder import RunFolder

FRESH = 30
"""A run that wrote this many seconds ago is taken to be running without a look at its lock."""
RUNNING = "running"
LARGEST = 1e100
"""Of values that a curve shows: differences and sums of them are finite."""


@dataclass(frozen=True)
class RunStatus:
    """What the folder of a run says."""

    config: Config
    records: list[Record]
    problems: list[str]
    """What is wrong with lines of metrics.jsonl."""
    state: str
    """running, interrupted, finished or failed."""
    why: str = ""
    """What is known of the reason."""

    @classmethod
    def read(cls, path: Path) -> "RunStatus":
        """The status of the run in a folder."""
        if not (path / "config.yaml").is_file():
            raise UserError(f"{path}: is no run folder (it has no config.yaml)")
        path = path.resolve()  # `.` has a name, too
        config = from_yaml(path / "config.yaml")
        config = replace(config, run=Run(dir=str(path.parent), name=path.name))
        folder = RunFolder(config)
        records, problems = MetricsLog(folder.metrics).scan()
        return cls(config, records, problems, *_state(config, folder, records))

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return max((record["step"] for record in self.records), default=0)

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of a figure, where it is a number."""
        known = [r for r in self.records if _is_drawn(r.get(name))]
        return [r["step"] for r in known], [r[name] for r in known]

    @property
    def metric(self) -> str:
        """The figure that chooses the best checkpoint, as records name it; empty: there is none."""
        if not self.config.eval.tasks or self.config.eval.metric == DEV_LOSS:
            return DEV_LOSS if self.config.data.dev else ""
        name, _, figure = self.config.eval.metric.rpartition("/")
        return f"eval/{name or label_of(self.config.eval.tasks[0])}/{figure}"

    def last(self, name: str) -> Record:
        """The last record that has a figure."""
        return next((r for r in reversed(self.records) if name in r), {})


def _state(config: Config, folder: RunFolder, records: list[Record]) -> tuple[str, str]:
    """`RunStatus.state` and `RunStatus.why`."""
    if folder.interrupted.exists():
        return "interrupted", "the same command goes on from there"
    if _is_finished(config, folder, records):
        return "finished", ""
    if _is_running(folder):
        return RUNNING, ""
    if folder.not_finite.exists():
        return "failed", f"train/loss was not finite ({folder.not_finite.name} has the batch)"
    return "failed", "its process is gone; the same command goes on from the last checkpoint"


def _is_finished(config: Config, folder: RunFolder, records: list[Record]) -> bool:
    """Whether the files that a run writes last are there, and not from before it was resumed."""
    names = [label_of(task) for task in config.eval.tasks]
    last_files = [folder.evaluation() / name / "report.json" for name in names] or [folder.model]
    written = [_time_of(file) for file in last_files]
    if not all(written):
        return False
    done = bool(records) and records[-1]["step"] >= config.train.steps
    newest = _time_of(folder.metrics)
    return done or all(time_of >= newest for time_of in written)


def _time_of(file: Path) -> float:
    """When a file was last changed; 0 where there is none, as while a report is replaced."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _is_running(folder: RunFolder) -> bool:
    """Whether a process trains in it: it wrote a moment ago, or it holds the lock."""
    last_write = max(map(_time_of, (folder.metrics, folder.path / "environment.json")))
    if time.time() - last_write < FRESH:
        return True
    try:
        with (folder.path / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_drawn(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST
