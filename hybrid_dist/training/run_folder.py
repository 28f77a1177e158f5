"""The folder of one run: its config, records, checkpoints, model and reports."""

import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from hybrid_dist.config.resolve import from_yaml, to_yaml
from hybrid_dist.config.schema import Config, changes_to_run
from hybrid_dist.config.sources import Source
from hybrid_dist.errors import DiskFullError, UserError
from hybrid_dist.runtime.files import DISK_IS_FULL, NO_LOCKS, read_json, write_atomically
from hybrid_dist.runtime.hang_report import FOLDER as HANG
from hybrid_dist.training.checkpoint.manager import check_path
from hybrid_dist.training.checkpoint.manifest import latest_step

SECONDS_FOR_LOST_NODES = 150
DRAFT = re.compile(
    r"\.(chunk_size\.json|config\.yaml|ended\.json|environment\.json|evaluation_due\.json|interrupted"
    r"|metrics\.jsonl|model|model\.candidate)\.\w{8}\.part"
)
"""Temporary files and folders that a process leaves behind if it is killed while writing."""
LOCK, SUBMITTED, LOGS = ".lock", "submitted", "logs"
"""The lock of the folder, the snapshots that its jobs run from, and the jobs' output."""
BEFORE_A_RUN = {LOCK, SUBMITTED, LOGS, HANG}
"""What a folder may hold before its run starts."""
TRAINING_LANGUAGES = "training_languages"
"""The key of environment.json that lists the languages of the training data."""
TRAINING_PAIRS = "training_pairs"
"""The key of environment.json that has the number of training pairs."""


class RunFolder:
    """The paths inside a run folder, and the rules for resuming in it."""

    def __init__(self, config: Config) -> None:
        self.path = config.run.folder
        self._config = config
        self._lock: IO[str] | None = None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def submitted(self) -> Path:
        """The snapshots that the jobs of the run start from, by number."""
        return self.path / SUBMITTED

    @property
    def logs(self) -> Path:
        """The output of the jobs of the run."""
        return self.path / LOGS

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def interrupted(self) -> Path:
        """Exists while a stopped run waits to be resumed: batch scripts requeue by it."""
        return self.path / "interrupted"

    @property
    def evaluation_due(self) -> Path:
        """Exists while an evaluation waits for the next start of a stopped run."""
        return self.path / "evaluation_due.json"

    @property
    def not_finite(self) -> Path:
        """The batch that ended a run whose gradients were not finite."""
        return self.path / "not_finite.json"

    @property
    def chunk_size(self) -> Path:
        """What `train.chunk_size: auto` has measured, and on what."""
        return self.path / "chunk_size.json"

    def evaluation(self, step: int | None = None) -> Path:
        """The folder for the reports of a step, or of the final model if no step is given."""
        return self.path / "eval" if step is None else self.path / "eval" / f"step-{step:06d}"

    def check(self) -> None:
        """Raise a UserError if the folder holds another run. Writes nothing."""
        try:
            self._check()
        except PermissionError as error:
            raise UserError(
                f"run.dir: {error.filename} cannot be read ({error.strerror}); get permission to "
                "read it, or choose another run.dir"
            ) from None

    def _check(self) -> None:
        resume = self._config.checkpoint.resume
        if resume not in ("auto", "never"):
            check_path(resume)
        recorded = self.path / "config.yaml"
        if recorded.exists() and not self.metrics.exists() and not self.checkpoints.exists():
            return  # described, but never started
        if not recorded.exists():
            files = self.path.iterdir() if self.path.exists() else ()
            if any(
                file.name not in BEFORE_A_RUN and not DRAFT.fullmatch(file.name) for file in files
            ):
                raise UserError(f"{self.path}: holds files but no run; choose another run.name")
            return
        if resume == "never":
            raise UserError(
                f"checkpoint.resume: is never, but {self.path} holds a run; "
                "choose another run.name, or set checkpoint.resume to auto"
            )
        trained = self._steps_trained()
        is_free = self._config.batching.mix_end.weights is None  # else the steps decide the mix
        if resume == "auto" and trained > self._config.train.steps and is_free:
            raise UserError(
                f"train.steps: is {self._config.train.steps}, but {self.path} is trained to step "
                f"{trained}; give {trained} or more, or choose another run.name"
            )
        changed = changes_to_run(from_yaml(recorded), self._config)
        if changed:
            listing = "\n  ".join(
                f"{key}: was {_as_yaml(old)}, is {_as_yaml(new)}"
                for key, (old, new) in changed.items()
            )
            raise UserError(
                f"{self.path}: holds a run with another configuration:\n  {listing}\n"
                "choose another run.name, or give the values that the run has"
            )

    def hold(self) -> None:
        """Lock the folder against other runs, until `close` or the end of this process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self._lock = (self.path / LOCK).open("w")
        except OSError as error:
            raise self._unwritable(error) from None
        # after a node was lost, the file server may keep its lock for a while
        patience = SECONDS_FOR_LOST_NODES if "SLURM_RESTART_COUNT" in os.environ else 0
        end = time.monotonic() + patience
        while not _locked(lock):
            if time.monotonic() >= end:
                raise UserError(
                    f"{self.path}: another process is training in it; wait for its end, or choose "
                    "another run.name"
                )
            time.sleep(1)
        self._remove_drafts()

    def close(self) -> None:
        """Unlock the folder, if this object holds it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _remove_drafts(self) -> None:
        for draft in self.path.iterdir():
            if DRAFT.fullmatch(draft.name) and draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            elif DRAFT.fullmatch(draft.name):
                draft.unlink(missing_ok=True)

    def mark_interrupted(self, reason: str) -> None:
        """Record that the run stopped early, and why."""
        marker = {"step": self._steps_trained(), "reason": reason}
        write_atomically(self.interrupted, json.dumps(marker) + "\n")

    def leave_evaluation(self, step: int, record: dict[str, Any]) -> None:
        """Leave the evaluation of a step, and the record that it belongs to, to the next start."""
        text = json.dumps({"step": step, "record": record}, ensure_ascii=False)
        write_atomically(self.evaluation_due, text + "\n")

    def left_evaluation(self, step: int) -> dict[str, Any] | None:
        """The record of this step, if its evaluation was left to this start.

        That of another step, which the run does not go on from, is forgotten.
        """
        if not self.evaluation_due.is_file():
            return None
        left = read_json(self.evaluation_due, "an evaluation that was left")
        if not isinstance(left, dict) or not isinstance(left.get("record"), dict):
            raise UserError(
                f"{self.evaluation_due}: is no evaluation that was left; remove it to go on "
                "without that evaluation"
            )
        if left.get("step") == step:
            return left["record"]
        self.evaluation_due.unlink()
        return None

    def _steps_trained(self) -> int:
        return latest_step(self.checkpoints) or 0

    def recorded_chunk_size(self, measured_on: dict[str, Any]) -> int | None:
        """The chunk size that was measured on as many processes of the same device, if any was."""
        if not self.chunk_size.is_file():
            return None
        recorded = read_json(self.chunk_size, "a measured chunk size")
        pairs = recorded.get("pairs") if isinstance(recorded, dict) else None
        if type(pairs) is not int or pairs < 1:
            raise UserError(
                f"{self.chunk_size}: is not a measured chunk size; remove it to measure again"
            )
        return pairs if recorded == {"pairs": pairs, **measured_on} else None

    def record_chunk_size(self, pairs: int, measured_on: dict[str, Any]) -> None:
        """Keep a measured chunk size, so that a resumed run is exactly the same."""
        text = json.dumps({"pairs": pairs, **measured_on}, ensure_ascii=False) + "\n"
        write_atomically(self.chunk_size, text)

    @contextmanager
    def written_to(self) -> Iterator[None]:
        """Turn a full or read-only disk into a UserError that names run.dir."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        full = error.errno in DISK_IS_FULL
        return (DiskFullError if full else UserError)(
            f"run.dir: {self.path} cannot be written ({error.strerror}); make room there, or "
            "choose another run.dir"
        )

    def write_description(self, environment: dict[str, Any]) -> None:
        """Write config.yaml and environment.json."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / "config.yaml", to_yaml(self._config))
            self.interrupted.unlink(missing_ok=True)  # the run continues
            text = json.dumps(environment, indent=2, ensure_ascii=False) + "\n"
            write_atomically(self.path / "environment.json", text)
        except OSError as error:
            raise self._unwritable(error) from None


def _locked(file: IO[str]) -> bool:
    """Try to lock a file; true also on file systems without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _as_yaml(value: Any) -> str:
    """A value as a config file spells it."""
    return repr(list(map(_plain, value))) if isinstance(value, tuple) else repr(value)


def _plain(entry: Any) -> Any:
    """An entry of a list; of one with settings, those that it has."""
    if not isinstance(entry, Source):
        return entry
    return {key: value for key, value in asdict(entry).items() if value is not None}


def trained_languages(run: Path) -> list[str] | None:
    """The languages that a run was trained on; None if the folder does not list them."""
    file = run / "environment.json"
    if not file.is_file():
        return None
    described = read_json(file, "the description of a run")
    languages = described.get(TRAINING_LANGUAGES) if isinstance(described, dict) else None
    if languages is None:
        return None
    if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
        raise UserError(
            f"{file}: {TRAINING_LANGUAGES} is not a list of languages; fix it or remove the file"
        )
    return languages
