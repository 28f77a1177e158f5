"""Checkpoints: written under a temporary name, then renamed; damaged ones are passed over."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import (
    apply_umask,
    bytes_of,
    failed_write,
    sync_file,
    sync_folder,
)
from hybrid_dist.runtime.host_memory import free_memory
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint import manifest
from hybrid_dist.training.checkpoint.background import Action, Attempt, BackgroundWriter
from hybrid_dist.training.checkpoint.manifest import (
    LATEST,
    MANIFEST,
    NAME,
    DamagedError,
    Manifest,
    latest_step,
    not_readable,
    step_of,
    write_latest,
)
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.checkpoint.state import Write

DRAFT = ".tmp"
PATH_OF_ONE = "give the path of one checkpoint, RUN/checkpoints/step-NUMBER"


class State(Protocol):
    """What is saved beside the progress. All ranks call these together."""

    @property
    def copy_bytes(self) -> int:
        """Main memory that copies of all tensors take on the first rank."""

    def save(self, folder: Path, write: Write, copied: bool = False) -> None:
        """Write everything into a folder. `copied`: what `write` gets may run later, while training
        changes the state."""

    def load(self, folder: Path) -> None: ...


class Checkpoints:
    """The checkpoints of one run folder: the latest ones, milestones, and that of the best step.

    A checkpoint in the background is written by a thread of the first rank, which calls no
    collective. The ranks agree on its outcome in `finish`, before the next checkpoint and at the
    end, or as soon as they have exchanged that it `has_failed`.
    """

    def __init__(
        self,
        folder: Path,
        state: State,
        ranks: Ranks,
        keep: int,
        on_failure: Literal["stop", "go_on"],
        say: Callable[[str], None],
        keep_every: int = 0,
        background: Literal["auto", "always", "never"] = "never",
    ) -> None:
        self._folder, self._state, self._ranks = folder, state, ranks
        self._keep, self._on_failure, self._say = keep, on_failure, say
        self._keep_every, self._background = keep_every, background
        self._writer = BackgroundWriter()
        self._in_flight: Path | None = None

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, after the one in flight; it counts only once `latest` names it."""
        self.finish()
        final = self._folder / manifest.name_of(progress.step)
        draft = _draft_of(final)
        in_background = self._is_in_background()
        attempt, later = Attempt(self._ranks.is_first), list[Action]()
        write = later.append if in_background else attempt.write
        write(lambda: _make_empty(draft))
        self._state.save(draft, write, in_background)
        write(lambda: self._publish(draft, final, progress))
        if in_background:
            self._in_flight = final
            if self._ranks.is_first:
                self._writer.start(later, lambda: _remove(draft))
        else:
            self._settle(final, attempt.problem)

    @property
    def has_failed(self) -> bool:
        """Whether the checkpoint in flight could not be written, as far as this rank knows."""
        return self._writer.has_failed

    def finish(self) -> None:
        """Wait for the checkpoint in flight, if there is one. All ranks call it together."""
        if self._in_flight is not None:
            final, self._in_flight = self._in_flight, None
            self._settle(final, self._writer.wait())

    def close(self) -> None:
        """Let the checkpoint in flight come to its end, on this rank alone, as after an error."""
        self._writer.join()

    def _is_in_background(self) -> bool:
        """What checkpoint.background says; `auto` is decided at the first checkpoint, when all else
        that training needs has its memory."""
        if self._background == "auto":
            needed = self._state.copy_bytes
            free = self._ranks.decide_on_first(free_memory)
            self._background = "always" if free >= 2 * needed else "never"
            if self._background == "never":
                self._say(
                    "checkpoint.background: auto: training waits for checkpoints, since their copy "
                    f"takes {bytes_of(needed)} of the first rank's memory, of which "
                    f"{bytes_of(free)} are free"
                )
        return self._background == "always"

    def find(self, resume: str) -> Path | None:
        """The checkpoint to resume from: the path of the config, or the latest undamaged one.

        The first rank searches, and reports why it passed others over.
        """
        return self._ranks.decide_on_first(lambda: self._search(resume))

    def load(self, folder: Path) -> Progress:
        """Restore weights, optimizer and random states; returns the progress of the run."""

        def progress() -> Progress:
            try:
                return manifest.read(folder).progress
            except DamagedError as damaged:
                raise UserError(f"{folder} {damaged}") from None

        loaded = self._ranks.decide_on_first(progress)
        self._state.load(folder)
        return loaded

    def _search(self, resume: str) -> Path | None:
        if resume not in ("auto", "never"):
            check_path(resume)
            if problem := damage(Path(resume)):
                raise UserError(f"checkpoint.resume: {resume} {problem}")
            return Path(resume)
        try:
            if (self._folder / LATEST).exists() and latest_step(self._folder) is None:
                self._say(f"{self._folder / LATEST} is damaged; taking the last whole checkpoint")
            timeline = self._timeline()
        except OSError as error:
            raise not_readable(self._folder, error) from None
        for folder in reversed(timeline):
            problem = damage(folder)
            if problem is None:
                return folder
            self._say(f"{folder} {problem}; trying the one before")
        return None

    def _settle(self, final: Path, problem: str | None) -> None:
        """Agree on the outcome of a checkpoint. Where it could not be written, earlier ones are
        untouched."""
        problem = self._ranks.broadcast_from_first(problem)
        if problem is None:
            return
        last: str | None = None
        if self._ranks.is_first:
            _remove(_draft_of(final))  # also makes room for what else is written
            with suppress(OSError, UserError):
                last = next((str(f) for f in reversed(self._timeline()) if not damage(f)), None)
        last = self._ranks.broadcast_from_first(last)
        previous = f"the last good one is {last}" if last else "there is none before it"
        message = f"{final}: the checkpoint could not be written ({problem}); {previous}"
        if self._on_failure == "stop":
            raise failed_write(
                f"{message}; make room and start the same command again, or set "
                "checkpoint.on_failure to go_on",
                problem,
            )
        self._say(f"{message}; the run continues")

    def _publish(self, draft: Path, final: Path, progress: Progress) -> None:
        """Rename the draft; each step is on disk before the next one relies on it."""
        apply_umask(draft.rglob("*.safetensors"))  # safetensors writes files that only we can read
        written = sorted(draft.rglob("*"), reverse=True)
        files = {str(f.relative_to(draft)): _checksum(f) for f in written if f.is_file()}
        for path in written:
            sync_folder(path) if path.is_dir() else sync_file(path)
        manifest.write(draft, Manifest(progress, files))
        _remove(final)
        draft.rename(final)
        sync_folder(self._folder)
        write_latest(self._folder, progress.step)
        self._forget(progress)

    def _forget(self, progress: Progress) -> None:
        """Remove all but the last few, the milestones and the best; also those of abandoned later
        steps, and drafts that a killed run has left."""
        timeline = self._timeline()
        kept = timeline[-self._keep :]
        kept += [folder for folder in timeline if self._is_kept(step_of(folder), progress)]
        for other in (*self._all(), *self._folder.glob(f"step-*{DRAFT}")):
            if other not in kept:
                _remove(other)  # what stays is tried again next time

    def _is_kept(self, step: int, progress: Progress) -> bool:
        is_milestone = bool(self._keep_every) and step % self._keep_every == 0
        return is_milestone or step == progress.best_step

    def _timeline(self) -> list[Path]:
        """The checkpoint that `latest` names and those before it, oldest first."""
        last = latest_step(self._folder)
        return [folder for folder in self._all() if last is None or step_of(folder) <= last]

    def _all(self) -> list[Path]:
        if not self._folder.exists():
            return []
        folders = (f for f in self._folder.iterdir() if NAME.fullmatch(f.name))
        return sorted(folders, key=step_of)


def _draft_of(final: Path) -> Path:
    return final.with_name(final.name + DRAFT)


def _make_empty(folder: Path) -> None:
    _remove(folder)
    folder.mkdir(parents=True)


def _remove(path: Path) -> None:
    """A folder, or a link to one that lies elsewhere, which is left as it is."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, to follow its name in a message; None if it is whole."""
    try:
        files = manifest.read(folder).files
    except DamagedError as damaged:
        return str(damaged)
    for name, checksum in files.items():
        try:
            actual = _checksum(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return f"lacks {name}"
        except PermissionError as error:
            raise not_readable(folder / name, error) from None
        except OSError as error:
            return f"is damaged: {name} cannot be read ({error.strerror})"
        if actual != checksum:
            return f"is damaged: {name} is not what was written"
    return None


def check_path(resume: str) -> None:
    """Raise a UserError for a path that is not a checkpoint, saying what it is instead."""
    path, refused = Path(resume), f"checkpoint.resume: {resume} is no checkpoint"
    try:
        if (path / MANIFEST).is_file():
            return
        inside = {f.name for f in path.iterdir()}
    except (FileNotFoundError, ValueError):
        raise UserError(f"{refused}: it is not there (auto, never or a path)") from None
    except NotADirectoryError:
        raise UserError(f"{refused} but a file; {PATH_OF_ONE}") from None
    except OSError as error:
        raise not_readable(path, error) from None
    if "checkpoints" in inside or any(map(NAME.fullmatch, inside)):
        raise UserError(f"{refused} but a folder that holds some; {PATH_OF_ONE}")
    if "config.json" in inside:
        raise UserError(
            f"{refused} but a model, without the optimizer's state; to start from its weights, set "
            "model.name_or_path to it"
        )
    raise UserError(
        f"checkpoint.resume: {resume} is no whole checkpoint (it has no {MANIFEST}); {PATH_OF_ONE}"
    )


def _checksum(file: Path) -> str:
    if not file.is_file():
        raise FileNotFoundError(file)
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
