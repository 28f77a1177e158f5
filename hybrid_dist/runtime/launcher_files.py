"""Launcher files of accelerate: where they are, and what they need of this machine."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_dist.config.strict_yaml import read_yaml
from hybrid_dist.errors import LaunchError, UserError, nearest
from hybrid_dist.runtime.templates import source

FOLDER = "launchers"
SHARDED = ("DEEPSPEED", "FSDP")
FORWARDED_SIGNALS = {
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2",
    "PET_SHUTDOWN_TIMEOUT": "300",
}
"""Have torch's launcher pass signals on, and wait until the processes have saved."""


@dataclass(frozen=True)
class LauncherFile:
    path: Path
    content: Mapping[str, Any]

    @classmethod
    def named(cls, name: str) -> "LauncherFile":
        """A launcher file by its path, or by its name in launchers/, here or in the package."""
        folders = [Path(FOLDER), source() / FOLDER]
        places = [Path(name), *(folder / f"{name}.yaml" for folder in folders)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
            raise UserError(
                f"{name}: no such launcher file{nearest(name, known)} (known: {', '.join(known)}; "
                "or give the path of one)"
            )
        content = read_yaml(path)
        if not isinstance(content, dict) or "distributed_type" not in content:
            raise UserError(f"{path}: is no launcher file: it has no distributed_type")
        if content.get("num_machines", 1) != 1:
            raise UserError(
                f"{path}: is for {content['num_machines']} machines; start one launcher on each, "
                "as slurm/train.sbatch does"
            )
        return cls(path, content)

    @property
    def kind(self) -> str:
        return str(self.content["distributed_type"])

    @property
    def uses_cpu(self) -> bool:
        return bool(self.content.get("use_cpu"))

    def processes(self, gpus: int) -> int:
        """How many the file starts on a machine with so many GPUs."""
        count = self.content.get("num_processes", 1)
        if count != "gpu":
            return int(count)
        return gpus or 1

    def check(self, processes: int, precision: str) -> None:
        """A LaunchError if this machine lacks what the file is for."""
        from hybrid_dist.runtime.launch import check_machine  # imports torch

        with _environment(self._variables(processes)):
            check_machine(precision)
        if processes < 1:
            raise LaunchError(f"--num-processes: {processes} is too few; give 1 or more")

    def _variables(self, processes: int) -> dict[str, str]:
        """The variables that accelerate will set and `check_machine` reads."""
        is_alone = self.kind == "NO"
        return {
            "WORLD_SIZE": "1" if is_alone else str(max(2, processes)),
            "LOCAL_WORLD_SIZE": str(processes),
            "ACCELERATE_MIXED_PRECISION": "no",
            "ACCELERATE_USE_CPU": str(self.uses_cpu).lower(),
            "ACCELERATE_USE_DEEPSPEED": str(self.kind == "DEEPSPEED").lower(),
            "ACCELERATE_USE_FSDP": str(self.kind == "FSDP").lower(),
        }

    def needs_accelerate(self, processes: int) -> bool:
        """Whether one plain process would not do."""
        return processes > 1 or self.kind in SHARDED


def launch_command(file: str, processes: int | None, module: Sequence[str]) -> list[str]:
    """`accelerate launch` of a module with options; None: as many processes as the file says."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", file]
    count = [] if processes is None else ["--num_processes", str(processes)]
    return [*launch, *count, "-m", *module]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
