"""`make gpu` on a CPU, with tiny sizes: on a machine with a GPU it should just work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launch import ROOT


@pytest.mark.long
def test_all_gpu_benchmarks_run_dry(tmp_path: Path) -> None:
    environment = os.environ | {
        "DRY_RUN": "1",
        "OUT": str(tmp_path),
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
    }
    command = [str(ROOT / "benchmarks" / "gpu" / "run.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, results in (("train_step", 30), ("embed", 6), ("search", 10)):
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        assert len(lines) >= results, done.stdout
        assert not [line for line in map(json.loads, lines) if "failed" in line]
