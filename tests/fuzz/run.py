"""Fuzz what the product reads: `python -m tests.fuzz.run --seconds 600 --seed 1 --only stores`.

Every finding is one line: class, how to see it again, the damage, and what happened. With --case N
one case runs and everything about it is printed.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fuzz.expected import why_expected
from tests.fuzz.process import Worker
from tests.fuzz.targets import HEAVY, TARGETS

FOREVER = 10**9
BATCH = 500
LEAST = 2.0
"""Seconds of each class, even where setting the others up has taken all the time."""
FIXED = Path(__file__).with_name("fixed_cases.jsonl")


class Session:
    """The findings of all classes, printed as they come and once per cause."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.cases: Counter[str] = Counter()
        self.times: Counter[tuple[str, str]] = Counter()
        self.expected: Counter[str] = Counter()
        self.new: list[dict[str, Any]] = []
        self.fixed = fixed_cases()
        self._lock = threading.Lock()

    def add(self, finding: dict[str, Any]) -> None:
        with self._lock:
            why = why_expected(finding["target"], finding["what"])
            if why is not None:
                self.expected[why] += 1
                return
            key = finding["target"], _cause(finding["what"])
            self.times[key] += 1
            if self.times[key] == 1:
                self.new.append(finding)
                print(line(finding), flush=True)

    def fuzz(self, names: Sequence[str], work: Path, end: float, count: int) -> None:
        """Run classes one after the other, each for its share of the time that is left."""
        work.mkdir()
        worker = Worker(work)
        try:
            for number, name in enumerate(names):
                worker.set_up(name)
                for case in self.fixed.get(name, ()):
                    if finding := worker.fixed(case):
                        self.add(finding)
                    self.cases[name] += 1
                now, first = time.time(), 0
                until = now + max(LEAST, (end - now) / (len(names) - number))
                while first < count and time.time() < until:
                    some = min(BATCH, count - first)
                    ran = worker.cases(name, self.seed, first, some, until, self.add)
                    self.cases[name] += ran
                    first += ran
                    if not ran:
                        break
        finally:
            worker.close()


def fixed_cases() -> dict[str, list[dict[str, Any]]]:
    """Earlier findings by class: the edits of each, whatever the seeds draw now."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for line in FIXED.read_text("utf-8").splitlines():
        case = json.loads(line)
        cases.setdefault(case["target"], []).append(case)
    return cases


def _cause(what: str) -> str:
    """A finding without what differs between cases of one cause."""
    return what.partition(": ")[0]


def line(finding: dict[str, Any]) -> str:
    edits = ", ".join(
        f"{e['do']} {e['file']}"
        + (f"[{e['at']}:{e['until']}]" if "at" in e else "")
        + (f" {e['other']}" if "other" in e else "")
        for e in finding["edits"]
    )
    again = f"--only {finding['target']} --seed {finding['seed']} --case {finding['case']}"
    again = again if finding["case"] >= 0 else "a fixed case"
    return f"{finding['target']}/{finding['variant']} | {again} | {edits} | {finding['what']}"


def shares(names: Sequence[str], jobs: int) -> list[list[str]]:
    """The classes by process: those that import torch stay together as far as they can."""
    ordered = sorted(names, key=lambda name: (name in HEAVY, name))
    jobs = max(1, min(jobs, len(ordered)))
    if jobs == 1:
        return [ordered]
    light = [name for name in ordered if name not in HEAVY]
    heavy = [name for name in ordered if name in HEAVY]
    if jobs == 2 and light and heavy:
        return [light, heavy]
    return [ordered[n::jobs] for n in range(jobs)]


def main(args: Sequence[str] | None = None) -> int:
    options = _parsed(args)
    names = options.only.split(",") if options.only else sorted(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        sys.exit(f"--only: unknown {', '.join(unknown)} (known: {', '.join(sorted(TARGETS))})")
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_scratch()) as made:
        work = Path(made)
        work.chmod(0o755)
        if options.case is not None:
            return _one(names[0], options.seed, options.case, work / "work")
        return _all(options, names, work)


def _all(options: argparse.Namespace, names: Sequence[str], work: Path) -> int:
    session = Session(options.seed)
    print(f"seed {options.seed}: {', '.join(names)}", flush=True)
    end = time.time() + (options.seconds or FOREVER)
    count = options.count or FOREVER
    parts = shares(names, options.jobs)
    with ThreadPoolExecutor(len(parts)) as pool:
        begun = [
            pool.submit(session.fuzz, part, work / str(n), end, count)
            for n, part in enumerate(parts)
        ]
    for done in begun:
        done.result()  # inputs that cannot be made end the run
    ran = ", ".join(f"{name} {session.cases[name]:,}" for name in names)
    print(f"{sum(session.cases.values()):,} cases: {ran}")
    for why, times in session.expected.most_common():
        print(f"expected {times:,} times: {why}")
    if options.save:
        with Path(options.save).open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(_kept(finding)) + "\n" for finding in session.new)
    print(f"{len(session.new)} findings")
    return 1 if session.new else 0


def _kept(finding: dict[str, Any]) -> dict[str, Any]:
    """A finding as a fixed case."""
    return {key: finding[key] for key in ("target", "variant", "what", "edits")}


def _one(name: str, seed: int, case: int, work: Path) -> int:
    """One case, with all that is known of it, and the line that keeps it as a fixed case."""
    work.mkdir()
    worker, findings = Worker(work), list[dict[str, Any]]()
    try:
        worker.cases(name, seed, case, 1, time.time() + FOREVER, findings.append)
    finally:
        worker.close()
    for finding in findings:
        print(line(finding), finding["more"], sep="\n")
        print(f"as a fixed case:\n{json.dumps(_kept(finding))}")
    if not findings:
        print("nothing")
    return 1 if findings else 0


def _scratch() -> str | None:
    """Memory where there is some: cases write many small files."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _parsed(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=float, help="wall-clock time for all classes together")
    parser.add_argument("--count", type=int, help="cases of each class")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", help=f"classes, of {','.join(sorted(TARGETS))}")
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--save", help="add the findings to this file, as JSON lines")
    options = parser.parse_args(args)
    if options.case is None and not options.seconds and not options.count:
        options.seconds = 600.0
    return options


if __name__ == "__main__":
    sys.exit(main())
