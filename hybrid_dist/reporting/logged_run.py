"""What a run has sent to W&B: its id there, and the names of its figures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_dist.config.schema import Config
from hybrid_dist.config.task_names import label_of
from hybrid_dist.errors import UserError
from hybrid_dist.reporting.report import figures
from hybrid_dist.reporting.run_evaluation import HIGHER_IS_BETTER
from hybrid_dist.reporting.run_status import RunStatus
from hybrid_dist.tracking.metrics_log import Record
from hybrid_dist.tracking.report_json import REPORT, read_report
from hybrid_dist.tracking.wandb_run import BY_PAIR, ID_FILE


@dataclass(frozen=True)
class LoggedRun:
    """A run in W&B."""

    id: str
    config: Config
    keys: frozenset[str]
    """Names of its figures, images and tables."""

    @classmethod
    def read(cls, path: Path) -> "LoggedRun":
        """The run of a folder; refuses one that is not in W&B."""
        status = RunStatus.read(path)
        if not (path / ID_FILE).is_file():
            raise UserError(
                f"{path}: has no W&B run (log.wandb is {status.config.log.wandb}); train with "
                "log.wandb: offline or online"
            )
        labels = {label_of(task) for task in status.config.eval.tasks}
        keys = {*_recorded(status.records), *_reported(path, labels)}
        return cls((path / ID_FILE).read_text().strip(), status.config, frozenset(keys))


def _recorded(records: list[Record]) -> Iterator[str]:
    """The figures of records that have a number."""
    for record in records:
        for name, value in record.items():
            if name.startswith(f"{BY_PAIR}/"):
                yield BY_PAIR
            elif name != "step" and isinstance(value, int | float):
                yield name


def _reported(path: Path, labels: Iterable[str]) -> Iterator[str]:
    """What W&B gets of the reports of the last evaluation in training, and of the final one.

    `labels`: the tasks that training evaluates; other reports were written after it.
    """
    steps = sorted((path / "eval").glob("step-*"))
    for section, folders in (("eval", steps[-1:]), ("final", [path / "eval"])):
        for file in (folder / label / REPORT for folder in folders for label in labels):
            if file.is_file():
                yield from _figures_of(read_report(file), f"{section}/{file.parent.name}")


def _figures_of(report: dict[str, Any], task: str) -> Iterator[str]:
    yield f"{task}/map_by_pair"
    languages = report["map_by_language"].items()
    yield from (f"{task}/map_by_language/{lang}" for lang, value in languages if value is not None)
    known = figures(report).items()
    yield from (f"{task}/{name}" for name, v in known if name in HIGHER_IS_BETTER and v is not None)
