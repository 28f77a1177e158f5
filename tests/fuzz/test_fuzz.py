"""A few seconds of fuzzing in every class, and the cases that were fixed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.fuzz.expected import EXPECTED
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SECONDS = 15


def test_seconds_of_damaged_files_end_in_messages_alone(tmp_path: Path) -> None:
    command = ["-m", "tests.fuzz.run", "--seconds", str(SECONDS), "--seed", "1", "--jobs", "2"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert " 0 findings" in f" {ran.stdout.splitlines()[-1]}"
    assert all(f"{name} 0" not in ran.stdout for name in TARGETS), ran.stdout


def test_what_is_expected_is_of_a_class_that_there_is() -> None:
    assert {name for name, _, _ in EXPECTED} <= {*TARGETS, "*"}
