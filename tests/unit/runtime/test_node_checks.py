"""What the doctor looks for on each machine, and how the lines of machines become one table."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hybrid_dist.errors import LaunchError
from hybrid_dist.runtime import node_checks, operators
from hybrid_dist.runtime.bandwidth import rounds, slow_members
from hybrid_dist.runtime.finding import Finding, over_machines
from hybrid_dist.runtime.launch import check_machine

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program that prints something, or fails, before others."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(name: str, output: str) -> None:
        text = f"cat <<'END'\n{output}\nEND\n" if output else "exit 1\n"
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("output", "state", "message"),
    [
        ("0, 0, 12\n1, 0, 0", "ok", "no uncorrected errors on the 2 GPUs that count them"),
        ("0, [N/A], [N/A]", "ok", "on the 0 GPUs that count them"),
        ("0, 0, 0\n1, 3, 7", "wrong", "GPU 1: 3 uncorrected errors since its driver started, 7"),
        ("", "ok", "no nvidia-smi here"),
    ],
)
def test_uncorrected_errors_of_memory_are_named(
    program: Program, output: str, state: str, message: str
) -> None:
    program("nvidia-smi", output)
    finding = node_checks._ecc()
    assert finding.state == state and message in finding.message
    assert ("--exclude" in finding.remedy) == (state == "wrong")


LOST = "[1.2] NVRM: Xid (PCI:0000:9c:00): 79, pid='<unknown>', GPU has fallen off the bus."
KILLED = "[1.3] NVRM: Xid (PCI:0000:1b:00): 43, pid=77, name=python, Ch 00000008"


@pytest.mark.parametrize(
    ("log", "state", "message"),
    [
        ("[0.1] usb 1-1: new device", "ok", "none"),
        (KILLED, "ok", "Xid 43 on 0000:1b:00: of programs, not of the card"),
        (f"{KILLED}\n{LOST}\n{LOST}", "wrong", "Xid 79 on 0000:9c:00, 2 times"),
        ("", "ok", "cannot be read here"),
    ],
)
def test_faults_in_the_kernel_s_log_are_named(
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    log: str,
    state: str,
    message: str,
) -> None:
    monkeypatch.setattr(node_checks, "DRIVER", tmp_path)
    program("dmesg", log)
    finding = node_checks._xids()
    assert finding.state == state and message in finding.message


def test_locked_memory_matters_where_there_is_infiniband(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_checks, "INFINIBAND", tmp_path)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 << 20, 8 << 20))
    assert node_checks._memlock().state == "ok"
    (tmp_path / "mlx5_0").mkdir()
    finding = node_checks._memlock()
    assert finding.state == "wrong" and "8,192 KiB" in finding.message
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert node_checks._memlock().state == "ok"


@pytest.mark.parametrize(
    ("entries", "files", "limit"),
    [
        ("0::/job_1/step_0\n", {"job_1/memory.max": "64", "job_1/step_0/memory.max": "max"}, 64),
        ("4:cpu,memory:/job_1\n", {"memory/job_1/memory.limit_in_bytes": "32"}, 32),
        ("1:name=systemd:/\n", {}, float("inf")),
    ],
    ids=["version 2", "version 1", "none"],
)
def test_the_limit_of_a_job_s_memory_is_found(
    tmp_path: Path, entries: str, files: dict[str, str], limit: float
) -> None:
    (tmp_path / "own").write_text(entries)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    assert min(node_checks._memory_limits(tmp_path / "own", tmp_path)) == limit


def test_a_gpu_needs_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(24))
    monkeypatch.setattr(node_checks, "_memory_limits", lambda: [100e9])
    monkeypatch.setattr(node_checks, "_total_memory", lambda: 500e9)
    monkeypatch.delenv("HYBRID_DIST_CORES", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert (node_checks._cores().state, node_checks._memory().state) == ("ok", "ok")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (node_checks._cores().state, node_checks._memory().state) == ("slow", "slow")
    assert "24 for this process, 3 of them its share (8 proc" in node_checks._cores().message
    assert node_checks._memory().message == "100 GB for 8 processes"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "6")
    assert (node_checks._cores().state, node_checks._memory().state) == ("ok", "ok")


def test_temporary_files_need_a_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    finding = node_checks._temporary()
    assert (finding.state, finding.what) == ("wrong", "temporary files")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(node_checks, "LEAST_ROOM", 1e18)
    assert node_checks._temporary().state == "slow"


@pytest.mark.parametrize("inside", ["cpu_adam", "py311_cpu/deepspeed_shm_comm"])
def test_the_lock_of_a_killed_compile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """Before a run waits for it for ever."""
    lock = tmp_path / inside / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert check_machine() == "cpu", "a compile that goes on"
    hour_ago = time.time() - 3600
    os.utime(lock, (hour_ago, hour_ago))
    finding = node_checks._deepspeed()
    assert finding.state == "wrong" and finding.remedy == f"rm {lock}"
    assert f"{lock}: is 60 minutes old" in finding.message
    with pytest.raises(LaunchError, match=f"killed.*; rm {lock}"):
        check_machine()


def test_a_compile_that_takes_too_long_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    old, new = tmp_path / "a/lock", tmp_path / "b/lock"
    old.parent.mkdir()
    new.parent.mkdir()
    old.touch()
    slow = f"import time; open({str(new)!r}, 'w'); time.sleep(600)"
    monkeypatch.setattr(operators, "BUILD", slow)
    assert operators.build(1) == ("", "not compiled within 1 s")
    assert old.exists() and not new.exists(), "another's lock stays"
    monkeypatch.setattr(operators, "BUILD", "raise SystemExit('no compiler')")
    assert operators.build() == ("", "no compiler")


def test_a_problem_names_the_machines_that_have_it() -> None:
    ok = [Finding("memlock", "ok", "unlimited"), Finding("Xid", "ok", "none")]
    bad = [Finding("memlock", "slow", "8 KiB", "ask"), Finding("Xid", "wrong", "Xid 79", "leave")]
    assert over_machines({"one": ok, "two": ok}) == ok
    assert over_machines({"one": bad}) == bad
    memlock, xid = over_machines({"one": ok, "two": bad, "three": [bad[0], ok[1]]})
    assert memlock == Finding("memlock", "slow", "two: 8 KiB, three: 8 KiB", "ask")
    assert xid == Finding("Xid", "wrong", "two: Xid 79", "leave")


@pytest.mark.parametrize("count", range(2, 8))
def test_each_two_machines_meet_once(count: int) -> None:
    pairs = list(rounds(range(count)))
    for together in pairs:
        members = [member for pair in together for member in pair]
        assert len(set(members)) == len(members), "nobody is in two pairs at once"
    met = [frozenset(pair) for together in pairs for pair in together]
    assert len(met) == len(set(met)) == count * (count - 1) // 2
    assert len(pairs) == count - 1 + count % 2


@pytest.mark.parametrize("count", range(3, 8))
@pytest.mark.parametrize("slow", [[], [1]])
def test_a_machine_that_is_slow_with_all_others_is_named(count: int, slow: list[int]) -> None:
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    rates = {pair: 1.0 if set(pair) & set(slow) else 10.0 for pair in pairs}
    assert slow_members(rates) == slow
    rates[0, 2] = 1.0  # a cable, and no machine
    assert slow_members(rates) == slow or count == 3
    assert slow_members({(0, 1): 1.0}) == []
