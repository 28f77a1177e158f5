"""Start real processes through the launcher files, as a user would, and leave none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.patience import BETWEEN, Patience, descendants
from tests.support.warm_python import start_server

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    output: str


ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
"""To be followed by the number of processes and a script."""


def script(name: str) -> list[str]:
    """A program of tests/launched/scripts/, as launchers and Python take it."""
    return ["-m", f"tests.launched.scripts.{name}"]


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


def run(command: Sequence[str], **environment: str) -> Done:
    """Run to the end, in Pythons that are forked from one whose imports are done."""
    return run_in(*_forked(command, environment))


def run_in_folder(folder: Path, command: Sequence[str], **environment: str) -> Done:
    """The same in another folder."""
    return run_in(*_forked(command, environment), folder)


def start_forked(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Start such Pythons: for what is neither looked for by its process id nor killed."""
    return start_in(*_forked(command, environment))


def _forked(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    python = str(warm_python())
    words = [python if word == sys.executable else word for word in command]
    return {"PYTHON_EXEC": python, **environment}, words


def run_cold(command: Sequence[str], **environment: str) -> Done:
    """Run to the end, in Pythons as a user starts them."""
    return run_in(environment, command)


warm_python = cache(start_server)


def run_in(environment: Mapping[str, str], command: Sequence[str], folder: Path = ROOT) -> Done:
    """Run to the end in a process group of its own; if it hangs, the whole group is killed."""
    process = start_in(environment, command, folder)
    output = output_of(process)
    return Done(process.returncode, output)


def output_of(process: subprocess.Popen[str]) -> str:
    """What it prints to its end."""
    patience = Patience()
    while True:
        try:
            return process.communicate(timeout=BETWEEN)[0]
        except subprocess.TimeoutExpired:
            if patience.is_over():
                kill(process)
                output, _ = process.communicate()
                raise AssertionError(f"hangs: {process.args!r}\n{output}") from None


def start(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    return start_in(environment, command)


def start_in(
    environment: Mapping[str, str], command: Sequence[str], folder: Path = ROOT
) -> subprocess.Popen[str]:
    base = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, **base, **environment},
        start_new_session=True,
        preexec_fn=_default_signals,
    )


def _default_signals() -> None:
    """A process that is started where these are ignored, as under nohup, would ignore them too."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the command and all it started (launchers give workers sessions of their own)."""
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class Running:
    """A started run, and all processes it ever had."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self._seen = process, {process.pid}

    def workers(self) -> list[int]:
        """The training processes, by rank."""
        pids = descendants(self.process.pid)
        self._seen.update(pids)
        ranked: dict[int, int] = {}
        for pid in pids:
            try:
                words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            ranks = [int(word.partition(b"=")[2]) for word in words if word.startswith(b"RANK=")]
            if ranks:
                ranked[ranks[0]] = min(pid, ranked.get(ranks[0], pid))
        return [ranked[rank] for rank in sorted(ranked)]

    def end(self) -> Done:
        self.workers()
        output = output_of(self.process)
        wait_for(lambda: not self.left())
        return Done(self.process.returncode, output)

    def left(self) -> list[int]:
        return [pid for pid in self._seen if is_running(pid)]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def running(command: list[str], **environment: str) -> AbstractContextManager[Running]:
    """A started run, which is killed at the end with all that it started."""
    return _killed_at_the_end(start(command, **environment))


def running_forked(command: list[str], **environment: str) -> AbstractContextManager[Running]:
    """The same of `start_forked`."""
    return _killed_at_the_end(start_forked(command, **environment))


@contextmanager
def _killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[Running]:
    started = Running(process)
    try:
        yield started
    finally:
        started.workers()
        kill(started.process)
        for pid in started.left():
            os.kill(pid, signal.SIGKILL)
        started.process.communicate()


def wait_for(condition: Callable[[], object]) -> None:
    patience = Patience()
    while not condition():
        assert not patience.is_over(), "waited too long"
        time.sleep(0.05)
