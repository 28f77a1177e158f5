"""Checkpoints whose state is a few small files."""

import os
from pathlib import Path
from typing import Any

from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.manager import Checkpoints
from hybrid_dist.training.checkpoint.state import Write


class Files:
    """Stands for the training state: saves and loads a few files of bytes."""

    def __init__(self) -> None:
        self.loaded: list[Path] = []

    def save(self, folder: Path, write: Write) -> None:
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
) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", state or Files(), Ranks(), keep, on_failure, say)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())
