"""The doctor in several processes."""

from pathlib import Path

import pytest

from tests.support.launch import TORCHRUN, launch, run, script
from tests.support.runs import succeed


def test_two_processes_measure_what_is_between_them(tmp_path: Path) -> None:
    module = ["-m", "hybrid_dist.doctor", "--folder", str(tmp_path)]
    output = succeed(launch("cpu", 2, module, COLUMNS="160")).output
    assert "2 on 1 machine, cpu" in output
    for name in ("all-gather", "all-reduce"):
        (line,) = [line for line in output.splitlines() if name in line]
        assert "GB/s a rank (gloo, 64 MiB" in line


def test_each_two_of_three_exchange_data() -> None:
    done = succeed(run([*TORCHRUN, "3", *script("pair_rates")]))
    assert "[(0, 1), (0, 2), (1, 2)] True" in done.output


@pytest.mark.long
def test_what_is_wrong_ends_with_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    module = ["-m", "hybrid_dist.doctor", "--folder", str(tmp_path / "file" / "runs")]
    assert launch("cpu", 2, module).code == 1
