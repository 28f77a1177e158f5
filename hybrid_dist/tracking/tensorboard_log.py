"""The same records for TensorBoard, in event files in the run folder."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from hybrid_dist.config.schema import Log
from hybrid_dist.errors import UserError
from hybrid_dist.tracking.metrics_log import Record, finite_only
from hybrid_dist.tracking.wandb_run import BY_PAIR

FOLDER = "tensorboard"


def check_tensorboard(log: Log) -> None:
    """Refuse where TensorBoard is not installed."""
    if log.tensorboard and find_spec("tensorboard") is None:
        raise UserError(
            "log.tensorboard: needs the package tensorboard, which is not installed: "
            'pip install "hybrid_dist[tensorboard]"'
        )


class TensorBoardLog:
    """Adds an event file to a run at each start. TensorBoard shows each step once: the file says
    from which step on those before it no longer count."""

    def __init__(self, run: Path, step: int, records: Iterable[Record]) -> None:
        """`step`: the last one before this start; `records`: what was logged up to it."""
        from torch.utils.tensorboard import SummaryWriter  # a second, so only when used

        folder = run / FOLDER
        is_first_file = not any(folder.glob("events.out.tfevents.*"))
        self._events = SummaryWriter(str(folder), purge_step=step + 1)
        for record in records if is_first_file else ():
            self._add(record)
        self._events.flush()

    def write(self, record: Record) -> None:
        """Add a record; a process that is killed afterwards does not lose it."""
        self._add(record)
        self._events.flush()

    def _add(self, record: Record) -> None:
        for name, value in finite_only(record).items():
            is_shown = name != "step" and not name.startswith(f"{BY_PAIR}/")
            if is_shown and isinstance(value, int | float):
                self._events.add_scalar(name, value, record["step"])
