"""Checkpoints: written beside, then renamed; for a damaged one the one before is taken."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.errors import UserError

MANIFEST, LATEST = "manifest.json", "latest"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: all that is not in Accelerate's files."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None


class Checkpoints:
    """The checkpoints of one run folder. Accelerate writes and reads the strategy's own files."""

    def __init__(
        self, folder: Path, accelerator: Any, ranks: Ranks, strategy: str, keep: int
    ) -> None:
        self._folder, self._accelerator, self._ranks = folder, accelerator, ranks
        self._strategy, self._keep = strategy, keep

    def save(self, progress: Progress) -> None:
        """Write a checkpoint; it counts only once `latest` names it."""
        final = self._folder / f"step-{progress.step:06d}"
        draft = final.with_name(final.name + ".tmp")
        if self._ranks.is_first:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        self._ranks.barrier()
        self._accelerator.save_state(str(draft))
        self._ranks.barrier()
        if self._ranks.is_first:
            self._publish(draft, final, progress)
        self._ranks.barrier()

    def find(self, resume: str, say: Callable[[str], None]) -> Path | None:
        """The checkpoint to go on from: a path that was asked for, or the latest that is whole."""
        if resume not in ("auto", "never"):
            problem = damage(Path(resume))
            if problem:
                raise UserError(f"checkpoint.resume: {resume} {problem}")
            return Path(resume)
        for folder in reversed(self._timeline()):
            problem = damage(folder)
            if problem is None:
                return folder
            say(f"{folder} {problem}; trying the one before")
        return None

    def load(self, folder: Path) -> Progress:
        """Bring back weights, optimizer and random states; say where the run stands."""
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["strategy"] != self._strategy:
            raise UserError(
                f"{folder}: was saved under {manifest['strategy']}, this run is under "
                f"{self._strategy}; resume with the launcher file it was started with"
            )
        if self._strategy.startswith("zero") and manifest["world"] != self._ranks.world:
            raise UserError(
                f"{folder}: its ZeRO shards were saved by {manifest['world']} processes, this run "
                f"has {self._ranks.world}; resume with {manifest['world']}"
            )
        self._accelerator.load_state(str(folder))
        return Progress(**manifest["progress"])

    def _publish(self, draft: Path, final: Path, progress: Progress) -> None:
        manifest = {
            "progress": asdict(progress),
            "strategy": self._strategy,
            "world": self._ranks.world,
            "files": {str(f.relative_to(draft)): _checksum(f) for f in sorted(_files(draft))},
        }
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
        pointer = self._folder / f"{LATEST}.tmp"
        pointer.write_text(final.name + "\n")
        pointer.replace(self._folder / LATEST)
        kept = self._timeline()[-self._keep :]
        for other in self._all():
            if other not in kept:  # older ones, and those of a future that was gone back from
                shutil.rmtree(other)

    def _timeline(self) -> list[Path]:
        """The checkpoint that `latest` names and those before it, oldest first."""
        try:
            latest = self._folder / (self._folder / LATEST).read_text().strip()
        except OSError:
            return self._all()
        return [folder for folder in self._all() if _step(folder) <= _step(latest)]

    def _all(self) -> list[Path]:
        return sorted((f for f in self._folder.glob("step-*") if f.suffix != ".tmp"), key=_step)


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


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
