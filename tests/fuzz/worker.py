"""The process that runs cases: `python -m tests.fuzz.worker FOLDER`, which talks in JSON lines."""

import faulthandler
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.case import Bench
from tests.fuzz.edits import Edit
from tests.fuzz.targets import TARGETS

MEMORY = 12 << 30
"""Bytes of address space: what asks for more than that has believed a number in a file."""


def main(work: Path) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes where the parent reads last words
    sys.stdin.reconfigure(errors="strict")  # type: ignore[union-attr]

    def tell(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")

    benches: dict[str, Bench] = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["target"]
        if name not in benches:
            tell(start="setup", target=name)
            benches[name] = Bench(TARGETS[name](), work)
        if "edits" in request:
            tell(start=-1, target=name)
            edits = [Edit.of_json(edit) for edit in request["edits"]]
            finding = benches[name].check(request["variant"], edits, -1, -1)
            tell(finding=None if finding is None else finding.as_json())
        elif "draw" in request:
            variant, edits = benches[name].drawn(request["seed"], request["draw"])
            tell(variant=variant, edits=[edit.as_json() for edit in edits])
        else:
            _run(benches[name], request, tell)
        tell(done=True)


def _run(bench: Bench, request: dict[str, Any], tell: Any) -> None:
    seed = request["seed"]
    for case in range(request["first"], request["first"] + request["count"]):
        if time.time() > request["until"]:
            return
        tell(start=case)
        variant, edits = bench.drawn(seed, case)
        finding = bench.check(variant, edits, seed, case)
        if finding is not None:
            tell(finding=finding.as_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
