"""Start real processes through the launcher files, as a user would, and leave none behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    output: str


ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
"""To be followed by the number of processes and a script."""


def launch_command(launcher: str, processes: int | None, module: Sequence[str]) -> list[str]:
    """`accelerate launch` with a launcher file; None leaves the number of processes to it."""
    file = ROOT / "launchers" / f"{launcher}.yaml"
    count = [] if processes is None else ["--num_processes", str(processes)]
    return [*ACCELERATE, "--config_file", str(file), *count, *module]


def train_command(args: Sequence[str], launcher: str = "", processes: int = 1) -> list[str]:
    """Training with these options: under a launcher file, or as one plain process."""
    module = ["-m", "hybrid_dist.train", *args]
    if launcher:
        return launch_command(launcher, processes, module)
    return [sys.executable, *module]


def launch(launcher: str, processes: int | None, module: Sequence[str], **environment: str) -> Done:
    return run(launch_command(launcher, processes, module), **environment)


def train(args: Sequence[str], launcher: str = "", processes: int = 1, **environment: str) -> Done:
    return run(train_command(args, launcher, processes), **environment)


def run(command: Sequence[str], timeout: float = 180, **environment: str) -> Done:
    """Run to the end in a process group of its own; at the time limit the whole group is killed."""
    process = start(command, **environment)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        output, _ = process.communicate()
        raise AssertionError(f"still running after {timeout} s: {command}\n{output}") from None
    return Done(process.returncode, output)


def start(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    base = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, **base, **environment},
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the command and all it started (launchers give workers sessions of their own)."""
    for pid in [*_descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_descendants(child)]
    return found
