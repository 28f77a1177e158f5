"""Limits of time in tests are for what hangs, not for a machine that is busy."""

import os
import subprocess
import sys
import time

import pytest

from tests.support.launch import run_in, wait_for
from tests.support.patience import Patience, slowness

SPINNERS = 3


def test_time_without_a_core_is_no_part_of_a_limit() -> None:
    core = {min(os.sched_getaffinity(0))}
    spinners = [
        subprocess.Popen(
            [sys.executable, "-c", "while True: pass"],
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        for _ in range(SPINNERS)
    ]
    patience = Patience(1.0 / slowness())
    try:
        time.sleep(1.5)
        assert not patience.is_over(), "most of it they waited for each other"
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
    while not patience.is_over():
        time.sleep(0.1)


def test_what_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.launch.Patience", lambda: Patience(0.1))
    with pytest.raises(AssertionError, match=r"hangs: .*\nbefore"):
        program = "import time; print('before', flush=True); time.sleep(1000)"
        run_in({}, [sys.executable, "-c", program])
    with pytest.raises(AssertionError, match="waited too long"):
        wait_for(lambda: False)
