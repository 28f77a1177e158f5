"""Checkpoints: written beside, then renamed; for a damaged one the one before is taken."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from safetensors import SafetensorError

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.errors import UserError
from hybrid_dist.training.state import Write

MANIFEST, LATEST, DRAFT = "manifest.json", "latest", ".tmp"
NAME = re.compile(r"step-\d{6,}")
LAYOUT = 2
"""Of the files of a checkpoint; one of another layout is refused."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: all that is not a tensor or a random state."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    no_better: int = 0
    """Evaluations since the best one."""
    skipped: int = 0
    """Updates that were left out, for their gradient was not finite."""


class State(Protocol):
    """What is saved beside the progress. All ranks call these together."""

    def save(self, folder: Path, write: Write) -> None: ...

    def load(self, folder: Path) -> None: ...


class Checkpoints:
    """The checkpoints of one run folder: the latest ones, and that of the best step."""

    def __init__(
        self,
        folder: Path,
        state: State,
        ranks: Ranks,
        keep: int,
        on_failure: Literal["stop", "go_on"],
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._state, self._ranks = folder, state, ranks
        self._keep, self._on_failure, self._say = keep, on_failure, say

    def save(self, progress: Progress) -> None:
        """Write a checkpoint; it counts only once `latest` names it."""
        final = self._folder / f"step-{progress.step:06d}"
        draft = final.with_name(final.name + DRAFT)
        attempt = Attempt(self._ranks.is_first)
        attempt.write(lambda: _make_empty(draft))
        self._state.save(draft, attempt.write)
        attempt.write(lambda: self._publish(draft, final, progress))
        problem = self._ranks.from_first(attempt.problem)
        if problem is not None:
            self._failed(draft, final, problem)

    def find(self, resume: str) -> Path | None:
        """The checkpoint to go on from: a path that was asked for, or the latest that is whole.

        The first rank looks, and says why it passed others over.
        """
        found = refusal = None
        if self._ranks.is_first:
            try:
                found = self._search(resume)
            except UserError as error:
                refusal = str(error)
        found, refusal = self._ranks.from_first((found, refusal))
        if refusal is not None:
            raise UserError(refusal)
        return found

    def load(self, folder: Path) -> Progress:
        """Bring back weights, optimizer and random states; say where the run stands."""
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest.get("layout") != LAYOUT:
            raise UserError(
                f"{folder}: was written by another version of hybrid_dist; go on with that "
                "version, or start another run.name"
            )
        self._state.load(folder)
        return Progress(**manifest["progress"])

    def _search(self, resume: str) -> Path | None:
        if resume not in ("auto", "never"):
            problem = damage(Path(resume))
            if problem:
                raise UserError(f"checkpoint.resume: {resume} {problem}")
            return Path(resume)
        for folder in reversed(self._timeline()):
            problem = damage(folder)
            if problem is None:
                return folder
            self._say(f"{folder} {problem}; trying the one before")
        return None

    def _failed(self, draft: Path, final: Path, problem: str) -> None:
        """The checkpoint could not be written; those before it are as they were."""
        last: str | None = None
        if self._ranks.is_first:
            shutil.rmtree(draft, ignore_errors=True)  # also makes room for what else is written
            last = next((str(f) for f in reversed(self._timeline()) if not damage(f)), None)
        last = self._ranks.from_first(last)
        stands = f"the last good one is {last}" if last else "there is none before it"
        told = f"{final}: the checkpoint could not be written ({problem}); {stands}"
        if self._on_failure == "stop":
            raise UserError(
                f"{told}; make room and start the same command again, or set "
                "checkpoint.on_failure to go_on"
            )
        self._say(f"{told}; the run goes on")

    def _publish(self, draft: Path, final: Path, progress: Progress) -> None:
        """Every step is on the disk before the next one relies on it."""
        written = sorted(draft.rglob("*"), reverse=True)
        manifest = {
            "layout": LAYOUT,
            "progress": asdict(progress),
            "files": {str(f.relative_to(draft)): _checksum(f) for f in written if f.is_file()},
        }
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        for path in (draft / MANIFEST, *written, draft):
            _to_disk(path)
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
        _to_disk(self._folder)
        pointer = self._folder / f"{LATEST}{DRAFT}"
        pointer.write_text(final.name + "\n")
        _to_disk(pointer)
        pointer.replace(self._folder / LATEST)
        _to_disk(self._folder)
        self._forget(progress)

    def _forget(self, progress: Progress) -> None:
        """Remove all but the last few and the best, and those of a future that was given up."""
        timeline = self._timeline()
        kept = timeline[-self._keep :]
        kept += [folder for folder in timeline if _step(folder) == progress.best_step]
        for other in self._all():
            if other not in kept:
                shutil.rmtree(other, ignore_errors=True)  # what stays is tried again next time

    def _timeline(self) -> list[Path]:
        """The checkpoint that `latest` names and those before it, oldest first."""
        last = latest_step(self._folder)
        return [folder for folder in self._all() if last is None or _step(folder) <= last]

    def _all(self) -> list[Path]:
        return sorted((f for f in self._folder.glob("step-*") if NAME.fullmatch(f.name)), key=_step)


class Attempt:
    """Writes of the first rank: once one has failed the rest is left out, and all ranks still
    meet."""

    def __init__(self, writes: bool) -> None:
        self._writes = writes
        self.problem: str | None = None

    def write(self, action: Callable[[], Any]) -> None:
        if not self._writes or self.problem is not None:
            return
        try:
            action()
        except (OSError, SafetensorError) as error:
            self.problem = str(error)


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in words that follow its name; none when it is whole."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError):
        return f"is no whole checkpoint (its {MANIFEST} cannot be read)"
    for name, checksum in files.items():
        file = folder / name
        if not file.is_file():
            return f"lacks {name}"
        if _checksum(file) != checksum:
            return f"is damaged: {name} is not what was written"
    return None


def latest_step(folder: Path) -> int | None:
    """The step that `latest` names in a folder of checkpoints; none where it names none."""
    try:
        named = (folder / LATEST).read_text(errors="replace").strip()
    except OSError:
        return None
    return _step(Path(named)) if NAME.fullmatch(named) else None


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlast a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
