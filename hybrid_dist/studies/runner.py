"""Runs the cells of a study: each run is a process of its own, so that one that fails stops alone.

Finished runs are skipped and interrupted ones resume. A signal makes the running ones save a
checkpoint; the same command then goes on.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType

from hybrid_dist.errors import SECONDS_OF_ONE_SIGNAL, UserError
from hybrid_dist.runtime.launcher_files import FORWARDED_SIGNALS, launch_command
from hybrid_dist.studies.cells import CellRun, Grid
from hybrid_dist.studies.machine_shares import MachineShare, share_machine
from hybrid_dist.studies.run_states import (
    RunRecord,
    RunState,
    is_trained,
    log_file,
    missing_tasks,
    read_record,
    seconds_of,
    state_of,
    step_of,
    write_config,
    write_record,
)
from hybrid_dist.training.run_folder import RunFolder

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LINES = 60.0
"""Between lines about progress where the output is no terminal and no run has ended."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OWN_ERROR = re.compile(r"^\S.*: error: (.+)")
PYTHON_ERROR = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b.*")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    seconds: float
    memory: int
    """Peak main memory in bytes."""


class StudyRunner:
    """Trains and evaluates what is left of a study, several runs at once."""

    def __init__(self, grid: Grid, jobs: int, say: Callable[[str], None]) -> None:
        self._grid, self._say = grid, say
        self._shares = share_machine(jobs)
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._signal = 0
        self._signalled_at = 0.0
        self._left: deque[CellRun] = deque()
        self._total = 0
        self._ended: dict[str, RunState] = {}

    def run(self, runs: Sequence[CellRun], trains: bool = True) -> None:
        """Train and evaluate runs; without `trains`, evaluate those that are trained.

        Raises SystemExit after a signal, once all processes have ended.
        """
        self._total = len(runs)
        for run in runs:
            state = state_of(self._grid, run)
            evaluates = run.cell.is_untrained or state.state == "to evaluate"
            evaluates |= state.state == "failed" and is_trained(run, state.record)
            if state.state == "finished" or not (trains or evaluates):
                self._ended[run.name] = state
            else:
                self._left.append(run)
        threads = [
            threading.Thread(target=self._work, args=(share,), daemon=True)
            for share in self._shares[: len(self._left)]
        ]
        with self._listening():
            for thread in threads:
                thread.start()
            self._watch(threads)
        if self._signal:
            raise SystemExit(128 + self._signal)

    def _work(self, share: MachineShare) -> None:
        """One run after another, until none is left or a signal comes."""
        while not self._signal:
            with self._lock:
                if not self._left:
                    return
                run = self._left.popleft()
            try:
                self._one(run, share)
            except Exception as error:  # such as a full disk: the others go on
                with suppress(OSError, UserError):
                    self._note(run, reason=f"{type(error).__name__}: {error}")
            self._ended[run.name] = state_of(self._grid, run)

    def _one(self, run: CellRun, share: MachineShare) -> None:
        """Train and evaluate one run, and note how it ended."""
        self._note(run, reason="")
        record = read_record(log_file(self._grid, run, "json"))
        if not is_trained(run, record):
            if run.cell.is_untrained:
                write_untrained(run)
            elif not self._train(run, share):
                return
        for out, specs in _by_folder(run).items():
            model = run.folder / "model" if run.cell.is_untrained else run.folder
            words = ["--model", str(model), "--task", *specs, "--out", str(out), "--overwrite"]
            words += ["--precision", run.config.eval.precision]
            ended = self._start(run, ["hybrid_dist.evaluate", *words], share)
            self._note(run, evaluate_seconds=ended.seconds)
            if self._signal:
                return
            if ended.code:
                self._note(run, reason=f"evaluation: {self._reason(run, ended.code)}")
                return
        self._note(run, reason="")

    def _train(self, run: CellRun, share: MachineShare) -> bool:
        """Train a run; whether it was trained to its end."""
        config = write_config(self._grid, run)
        ended = self._start(run, ["hybrid_dist.train", "--config", str(config)], share)
        marker = RunFolder(run.config).interrupted
        trained = ended.code == 0 and not marker.exists()
        self._note(run, train_seconds=ended.seconds, memory=ended.memory, trained=trained)
        if ended.code and not self._signal and not marker.exists():
            self._note(run, reason=self._reason(run, ended.code))
        return trained

    def _start(self, run: CellRun, module: Sequence[str], share: MachineShare) -> Ended:
        """Run a module in the processes of a run, with its output in the run's log."""
        study = self._grid.study
        command = [sys.executable, "-m", *module]
        if study.launcher:
            command = launch_command(study.launcher, study.processes, module)
        environment = {
            **os.environ,
            **share.environment(study.processes or 1),
            **FORWARDED_SIGNALS,
        }
        begin = time.monotonic()
        log = log_file(self._grid, run, "log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out, self._lock:
            if self._signal:
                return Ended(128 + self._signal, 0.0, 0)
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            with suppress(OSError):  # it may have ended already
                os.sched_setaffinity(child.pid, share.processors)
            self._children[run.name] = child
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = code = os.waitstatus_to_exitcode(status)
        with self._lock:
            del self._children[run.name]
        return Ended(code, time.monotonic() - begin, usage.ru_maxrss * 1024)

    def _note(
        self,
        run: CellRun,
        *,
        reason: str | None = None,
        trained: bool | None = None,
        train_seconds: float = 0.0,
        evaluate_seconds: float = 0.0,
        memory: int = 0,
    ) -> None:
        """Add to what is recorded of a run."""
        old = read_record(log_file(self._grid, run, "json"))
        new = RunRecord(
            trained=old.trained if trained is None else trained,
            reason=old.reason if reason is None else reason,
            train_seconds=old.train_seconds + train_seconds,
            evaluate_seconds=old.evaluate_seconds + evaluate_seconds,
            memory=max(old.memory, memory),
        )
        write_record(self._grid, run, replace(new, reason="" if trained else new.reason))

    def _reason(self, run: CellRun, code: int) -> str:
        return reason_in(log_file(self._grid, run, "log"), code)

    # ------------------------------------------------------------- signals and progress

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Pass signals on to the runs; a second one ends them at once."""
        here = threading.current_thread() is threading.main_thread()
        before = {one: signal.signal(one, self._stop) for one in SIGNALS if here}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = self._signal and now - self._signalled_at > SECONDS_OF_ONE_SIGNAL
        first = not self._signal
        self._signal, self._signalled_at = self._signal or number, now
        if not (first or again):
            return
        for child in list(self._children.values()):
            with suppress(ProcessLookupError):
                if again:
                    os.killpg(child.pid, signal.SIGKILL)
                else:
                    os.kill(child.pid, signal.SIGTERM)

    def _watch(self, threads: Sequence[threading.Thread]) -> None:
        """Show the progress until all threads have ended."""
        while any(thread.is_alive() for thread in threads):
            self._say(self._progress())
            end = time.monotonic() + SECONDS_BETWEEN_LOOKS
            while time.monotonic() < end and any(thread.is_alive() for thread in threads):
                time.sleep(0.05)
        self._say(self._progress())

    def _progress(self) -> str:
        """One line: what has ended, what is running, and how long the rest will take."""
        states = list(self._ended.values())
        failed = sum(state.state == "failed" for state in states)
        done = sum(state.state == "finished" for state in states)
        text = f"{self._grid.study.name}: {done} of {self._total} runs finished"
        text += f", {failed} failed" if failed else ""
        running, fraction = [], 0.0
        with self._lock:
            names = set(self._children)
            left = len(self._left)
        for run in (run for run in self._grid.all_runs() if run.name in names):
            step, steps = step_of(run), run.config.train.steps
            running.append(f"{run.name} step {step:,} of {steps:,}")
            fraction += min(1.0, step / steps)
        text += f"; {', '.join(running)}" if running else ""
        if self._signal:
            return f"{text.partition(';')[0]}, stopping: the same command goes on from here"
        if (each := seconds_of(states)) is not None:
            rest = each * (left + len(running) - fraction) / len(self._shares)
            text += f"; {timedelta(seconds=round(rest))} left"
        return text


def reason_in(log: Path, code: int) -> str:
    """Why a process failed: the last error in its output, else its last line."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
    except OSError:
        lines = []
    for pattern in (OWN_ERROR, PYTHON_ERROR):
        for line in reversed(lines):
            if match := pattern.match(line):
                return match[match.lastindex or 0].strip()
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    return f"exit code {code}: {last}"


def write_untrained(run: CellRun) -> None:
    """Write the model that training would start from, as a model folder with its prefixes."""
    import torch

    from hybrid_dist.model.loading import build, read_config
    from hybrid_dist.model.saving import save
    from hybrid_dist.model.spec import EncoderSpec
    from hybrid_dist.model.tokenization import TextTokens

    model = run.config.model
    spec = EncoderSpec.of(model)
    tokens = TextTokens.load(model.name_or_path, spec, model.trust_remote_code)
    torch.manual_seed(run.config.seed)
    backbone = build(model, read_config(model)).backbone
    run.folder.mkdir(parents=True, exist_ok=True)
    save(run.folder / "model", backbone, backbone.state_dict(), tokens.tokenizer, spec)


def _by_folder(run: CellRun) -> dict[Path, list[str]]:
    """The tasks that a run has no report on, by the folder of the reports."""
    folders: dict[Path, list[str]] = {}
    for label in missing_tasks(run):
        folders.setdefault(run.reports(label).parent, []).append(run.tasks[label])
    return folders
