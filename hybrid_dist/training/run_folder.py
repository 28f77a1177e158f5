"""The folder of one run: what it was asked, what it did, what came of it."""

import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hybrid_dist.config.resolve import from_yaml, to_yaml
from hybrid_dist.config.schema import Config, changes_to_run
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import read_json, write_atomically
from hybrid_dist.training.checkpoint.manager import check_path
from hybrid_dist.training.checkpoint.manifest import latest_step

SECONDS_FOR_LOST_NODES = 150
DRAFT = re.compile(
    r"\.(config\.yaml|environment\.json|interrupted|metrics\.jsonl|model|model\.candidate)"
    r"\.\w{8}\.part"
)
"""Drafts of the run's files or of its model, left by a process that was killed while writing."""
TRAINING_LANGUAGES = "training_languages"
"""Where a run folder's environment.json lists what the run was trained on."""


class RunFolder:
    """Names of what is in a run folder, and the rule for coming back to it."""

    def __init__(self, config: Config) -> None:
        self.path = config.run.folder
        self._config = config

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def interrupted(self) -> Path:
        """There while a run that was stopped waits to go on: batch scripts requeue by it."""
        return self.path / "interrupted"

    @property
    def not_finite(self) -> Path:
        """What was in the batch that ended a run whose numbers were not finite."""
        return self.path / "not_finite.json"

    def evaluation(self, step: int | None = None) -> Path:
        """Where reports of a step go; of the final model when no step is named."""
        return self.path / "eval" if step is None else self.path / "eval" / f"step-{step:06d}"

    def check(self) -> None:
        """Refuse to go on in a folder that holds another run. Writes nothing."""
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
            return  # it was described and never begun
        if not recorded.exists():
            found = self.path.iterdir() if self.path.exists() else ()
            if any(file.name != ".lock" and not DRAFT.fullmatch(file.name) for file in found):
                raise UserError(f"{self.path}: holds files but no run; choose another run.name")
            return
        if resume == "never":
            raise UserError(
                f"checkpoint.resume: is never, but {self.path} holds a run; "
                "choose another run.name, or set checkpoint.resume to auto"
            )
        trained = self._steps_trained()
        if resume == "auto" and trained > self._config.train.steps:
            raise UserError(
                f"train.steps: is {self._config.train.steps}, but {self.path} is trained to step "
                f"{trained}; give {trained} or more, or choose another run.name"
            )
        changed = changes_to_run(from_yaml(recorded), self._config)
        if changed:
            listing = "\n  ".join(
                f"{key}: was {_told(old)}, is {_told(new)}" for key, (old, new) in changed.items()
            )
            raise UserError(
                f"{self.path}: holds a run with another configuration:\n  {listing}\n"
                "choose another run.name, or give the values that the run has"
            )

    def hold(self) -> None:
        """Keep other runs out of the folder until this process ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise self._unwritable(error) from None
        # a requeued job may find a lock that the file server still keeps for a node that was lost
        patience = SECONDS_FOR_LOST_NODES if "SLURM_RESTART_COUNT" in os.environ else 0
        end = time.monotonic() + patience
        while not _locked(self._lock):
            if time.monotonic() >= end:
                raise UserError(
                    f"{self.path}: another process is training in it; wait for its end, or choose "
                    "another run.name"
                )
            time.sleep(1)
        self._remove_drafts()

    def _remove_drafts(self) -> None:
        for draft in self.path.iterdir():
            if DRAFT.fullmatch(draft.name) and draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            elif DRAFT.fullmatch(draft.name):
                draft.unlink(missing_ok=True)

    def mark_interrupted(self, reason: str) -> None:
        """Record that the run stopped early, and why."""
        told = {"step": self._steps_trained(), "reason": reason}
        write_atomically(self.interrupted, json.dumps(told) + "\n")

    def _steps_trained(self) -> int:
        return latest_step(self.checkpoints) or 0

    @contextmanager
    def written_to(self) -> Iterator[None]:
        """For the time in which training writes here: a full disk ends the run with one message."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"run.dir: {self.path} cannot be written ({error.strerror}); make room there, or "
            "choose another run.dir"
        )

    def write_description(self, environment: dict[str, Any]) -> None:
        """config.yaml and environment.json."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / "config.yaml", to_yaml(self._config))
            self.interrupted.unlink(missing_ok=True)  # it goes on now
            text = json.dumps(environment, indent=2, ensure_ascii=False) + "\n"
            write_atomically(self.path / "environment.json", text)
        except OSError as error:
            raise self._unwritable(error) from None


def _locked(file: IO[str]) -> bool:
    """Whether the file is ours now; true also on disks that know no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL):
            raise
    return True


def _told(value: Any) -> str:
    """A value as a config file has it."""
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def trained_languages(run: Path) -> list[str] | None:
    """The languages that a run was trained on; None where the folder does not tell."""
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
