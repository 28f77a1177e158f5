"""`hybrid-dist launch LAUNCHER CONFIG`: check a run, then train it under `accelerate launch`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.commands import train
from hybrid_dist.config import flags
from hybrid_dist.config.command_options import parse_known
from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.launcher_files import FORWARDED_SIGNALS, LauncherFile, launch_command
from hybrid_dist.runtime.loading_line import loading
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train one run in several processes: check launcher file, config and machine, then start
    `accelerate launch`. Keys of the config are flags here too, after CONFIG.

    Example: hybrid-dist launch ddp configs/xlmr-base-hybrid.yaml --run.name base
    """

    launcher: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="LAUNCHER")]
    """A file of launchers/ by its name, such as ddp or zero2, or the path of another one."""
    config: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")]
    """The run's config."""
    num_processes: int | None = None
    """How many processes; by default one for each GPU, or one, or what the file says."""


def main(args: Sequence[str], program: str = "hybrid-dist launch") -> None:
    own, rest = parse_known(Options, args, program)
    words = ["--config", str(own.config), *rest]
    with report_errors(program):
        file = LauncherFile.named(own.launcher)
        config = flags.load(words, program)
        with loading(program):
            import torch
        gpus = 0 if file.uses_cpu else torch.cuda.device_count()
        processes = file.processes(gpus) if own.num_processes is None else own.num_processes
        file.check(processes, config.train.precision)
        name = printable(file.path)
        if file.needs_accelerate(processes):
            print(f"{program}: {processes} processes, {name}", file=sys.stderr, flush=True)
            command = launch_command(str(file.path), processes, ["hybrid_dist.train", *words])
            os.execve(command[0], command, {**FORWARDED_SIGNALS, **os.environ})
        print(f"{program}: one process, which needs no launcher", file=sys.stderr, flush=True)
    train.main(words, "hybrid-dist train")
