"""Checkpoints whose state is a few small files."""

import os
from pathlib import Path
from typing import Any

from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.manager import Checkpoints
from hybrid_dist.training.checkpoint.state import Write


class Files:
    """Stands for the training state: saves and loads a few files of bytes."""

    copy_bytes = 1000

    def __init__(self) -> None:
        self.loaded: list[Path] = []

    def save(self, folder: Path, write: Write, copied: bool = False) -> None:
        write((folder / "part").mkdir)
        write(lambda: (folder / "part" / "model.bin").write_bytes(os.urandom(1000)))
        write(lambda: (folder / "random.json").write_bytes(b"state"))

    def load(self, folder: Path) -> None:
        self.loaded.append(folder)


def checkpoints(
    folder: Path,
    keep: int = 2,
    state: Any = None,
    on_failure: Any = "stop",
    say: Any = print,
    keep_every: int = 0,
    background: Any = "never",
) -> Checkpoints:
    place, state = folder / "checkpoints", state or Files()
    return Checkpoints(place, state, Ranks(), keep, on_failure, say, keep_every, background)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())
