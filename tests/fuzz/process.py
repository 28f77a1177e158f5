"""A worker process: it runs cases, and is replaced when it dies or hangs."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS
from tests.support.patience import Patience

ROOT = Path(__file__).parents[2]
SETUP_SECONDS = 180.0
WALL = 12
"""Times the processor time that a case may take: the machine may be busy with other things."""
TICKS = os.sysconf("SC_CLK_TCK")
Report = Callable[[dict[str, Any]], None]


class Died(Exception):
    """The worker is gone; says how."""


class Worker:
    def __init__(self, work: Path) -> None:
        self._work = work
        self._process: subprocess.Popen[str] | None = None

    def set_up(self, target: str) -> None:
        """Import what a class needs and make its inputs."""
        self.cases(target, 0, 0, 0, 0.0, lambda finding: None)

    def cases(
        self, target: str, seed: int, first: int, count: int, until: float, report: Report
    ) -> int:
        """Run so many cases, or fewer when time is up; how many ran. A case that ends the process
        is a finding."""
        case, end = first, first + count
        while case < end or not count:
            request = {"target": target, "seed": seed, "first": case, "count": end - case}
            last: int | str | None = None
            try:
                for message in self._answers_to(
                    {**request, "until": until}, TARGETS[target].seconds
                ):
                    if "start" in message:
                        last = message["start"]
                    elif message.get("finding"):
                        report(message["finding"])
                return (last + 1 if isinstance(last, int) else case) - first
            except Died as death:
                if not isinstance(last, int):
                    raise RuntimeError(f"{target}: its inputs cannot be made: {death}") from None
                report(self._finding(target, seed, last, str(death)))
                case = last + 1
        return count

    def fixed(self, case: Mapping[str, Any]) -> dict[str, Any] | None:
        """Run one case that was written down."""
        target = case["target"]
        request = {key: case[key] for key in ("target", "variant", "edits")}
        try:
            answers = [*self._answers_to(request, TARGETS[target].seconds)]
            return next((message["finding"] for message in answers if message.get("finding")), None)
        except Died as death:
            finding = self._finding(target, -1, -1, str(death))
            return {**finding, "variant": case["variant"], "edits": case["edits"]}

    def _finding(self, target: str, seed: int, case: int, death: str) -> dict[str, Any]:
        what, _, more = death.partition("\n")
        drawn = {"variant": "?", "edits": []}
        if case >= 0:
            request = {"target": target, "seed": seed, "draw": case}
            answers = [*self._answers_to(request, TARGETS[target].seconds)]
            drawn = next(message for message in answers if "variant" in message)
        message = {"target": target, "seed": seed, "case": case, "what": what, "more": more}
        return {**message, "variant": drawn["variant"], "edits": drawn["edits"]}

    def _answers_to(self, request: Mapping[str, Any], seconds: float) -> Iterator[dict[str, Any]]:
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return self._answers(process, seconds)

    def _answers(self, process: subprocess.Popen[str], seconds: float) -> Iterator[dict[str, Any]]:
        spent, limit = _cpu(process.pid), SETUP_SECONDS
        patience = Patience(WALL * limit)
        while True:
            try:
                line = self._lines.get(timeout=0.5)
            except queue.Empty:
                used = _cpu(process.pid) - spent
                if used > limit or patience.is_over():
                    raise Died(self._hung(process, used)) from None
                continue
            if not line:
                raise Died(self._ended(process))
            message = json.loads(line)
            if "done" in message:
                return
            if "start" in message:
                spent = _cpu(process.pid)
                limit = SETUP_SECONDS if message["start"] == "setup" else seconds
                patience = Patience(WALL * limit)
            yield message

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._errors = (self._work / "stderr").open("w+")
            env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "RANK": "0"}
            env |= {"HOME": str(self._work / "home"), "PYTHONWARNINGS": "ignore"}
            env.pop("XDG_CACHE_HOME", None)
            env.pop("HYBRID_DIST_CACHE", None)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", str(self._work)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                cwd=ROOT,
                env=env,
            )
            self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
            read = threading.Thread(target=_read, args=(self._process, self._lines), daemon=True)
            read.start()
        return self._process

    def _hung(self, process: subprocess.Popen[str], used: float) -> str:
        process.send_signal(signal.SIGABRT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        words = self._last_words()
        return f"hangs ({used:.0f} s of processor time) in {_place(words)}\n{words}"

    def _ended(self, process: subprocess.Popen[str]) -> str:
        code, words = process.wait(), self._last_words()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process ended ({how}) in {_place(words)}\n{words}"

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-6000:]

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()


def _read(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def _place(words: str) -> str:
    """The innermost function of the product in a dump of the stack."""
    for line in words.splitlines():
        if "/hybrid_dist/" in line and "site-packages" not in line:
            file, _, rest = line.rpartition("/hybrid_dist/")[2].partition('"')
            return f"{file}:{rest.rpartition(' in ')[2]}"
    return "an unknown place"


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
