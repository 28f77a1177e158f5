"""The same records in W&B. Its absence, outage or bad key never stops a run."""

import secrets
import string
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hybrid_dist.config import Log
from hybrid_dist.tracking.metrics_log import Record

ID_FILE = "wandb_id"


class WandbRun:
    """One W&B run per run folder: its id lives there, so a resumed run is one curve."""

    def __init__(
        self,
        log: Log,
        folder: Path,
        config: Record,
        sent_until: int,
        say: Callable[[str], None],
        speaks: bool,
    ) -> None:
        self._say, self._sent_until, self._folder, self._mode = say, sent_until, folder, log.wandb
        self._run: Any = None
        if speaks and log.wandb != "disabled":
            self._guarded(lambda: self._start(log, config))

    def write(self, record: Record) -> None:
        """Send a record; steps sent before a crash are not sent again, for W&B cannot rewind."""
        if self._run is not None and record["step"] > self._sent_until:
            told = {name: value for name, value in record.items() if value is not None}
            self._guarded(lambda: self._run.log(told))

    def summarize(self, figures: Record) -> None:
        if self._run is not None:
            self._guarded(lambda: self._run.summary.update(figures))

    def finish(self) -> None:
        if self._run is None:
            return
        # W&B ends a folder's name with -1 where one of the same second exists
        every_part = f"{self._folder}/wandb/offline-run-*-{_run_id(self._folder)}*"
        self._guarded(self._run.finish)
        if self._mode == "offline":
            self._say(f"W&B was offline; send this run with: wandb sync {every_part}")

    def _start(self, log: Log, config: Record) -> None:
        import wandb  # half a second, so only when used

        self._run = wandb.init(
            project=log.project,
            name=self._folder.name,
            id=_run_id(self._folder),
            resume="allow",
            mode=log.wandb,
            dir=self._folder,
            config=config,
            job_type="train",
            settings=wandb.Settings(console="off", silent=True, init_timeout=60),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _guarded(self, action: Callable[[], Any]) -> None:
        """W&B raises errors of many kinds, its own and the network's: none stops a run."""
        try:
            action()
        except Exception as error:
            run, self._run = self._run, None
            with suppress(Exception):  # what was sent before is worth keeping
                run.finish(exit_code=1)
            self._say(
                f"W&B is off for the rest of this run: {error} (metrics.jsonl has everything)"
            )


def _run_id(folder: Path) -> str:
    file = folder / ID_FILE
    if not file.exists():
        letters = string.ascii_lowercase + string.digits
        file.write_text("".join(secrets.choice(letters) for _ in range(8)) + "\n")
    return file.read_text().strip()
