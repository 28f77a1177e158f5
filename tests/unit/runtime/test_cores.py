"""The cores of a process: shared on all machines, and beside its GPU on those with sockets."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid_dist.runtime import cores, launch
from hybrid_dist.runtime.cores import SHARE, bind_to_gpu, limit_threads, own_cores

SOCKETS = ("0-3,8-11", "4-7,12-15")
"""Of a machine with 8 cores of two threads, as local_cpulist has them."""
ADDRESSES = ["0000:1b:00.0", "0000:3d:00.0", "0000:9c:00.0", "0001:dc:00.0"]


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two GPUs on each socket."""
    for number, address in enumerate(ADDRESSES):
        (tmp_path / address).mkdir()
        (tmp_path / address / "local_cpulist").write_text(f"{SOCKETS[number // 2]}\n")
    monkeypatch.delenv(SHARE, raising=False)
    return tmp_path


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The cores that threads of this process are bound to."""
    given: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, own: given.append(own))
    monkeypatch.setenv(SHARE, "")  # undone at the end of the test
    monkeypatch.delenv(SHARE)
    return given


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, 4),
        ({"OMP_NUM_THREADS": "1"}, None),
        ({"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}, 2),
        ({"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "8"}, 1),
        ({"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}, 4),
        ({"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2", SHARE: "3"}, 3),
    ],
    ids=[
        "alone",
        "as the user says",
        "two",
        "more than cores",
        "one of accelerate launch",
        "bound",
    ],
)
def test_processes_share_the_cores(
    environment: dict[str, str], threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launchers set OMP_NUM_THREADS to 1; without a launcher it is the user's."""
    given: list[int] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    limit_threads(environment)
    assert given == ([] if threads is None else [threads])


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (set(range(16)), [({0, 1, 2, 3, 8, 9, 10, 11}, 4), ({4, 5, 6, 7, 12, 13, 14, 15}, 4)]),
        ({0, 1, 4, 5, 6, 7}, [({0, 1}, 1), ({4, 5, 6, 7}, 2)]),
    ],
    ids=["the whole machine", "a job's part of it"],
)
def test_a_rank_stays_beside_its_gpu(
    devices: Path,
    bound: list[set[int]],
    monkeypatch: pytest.MonkeyPatch,
    allowed: set[int],
    expected: list[tuple[set[int], int]],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    for rank in range(4):
        bound.clear()
        bind_to_gpu(rank, ADDRESSES, devices)
        own, share = expected[rank // 2]
        assert bound and all(given == own for given in bound), "all threads of the process"
        assert own_cores({"LOCAL_WORLD_SIZE": "4"} | os.environ) == share
        bound.clear()
        bind_to_gpu(rank, ADDRESSES, devices)
        assert not bound, "a second start leaves it as it is"
        del os.environ[SHARE]


@pytest.mark.parametrize(
    ("allowed", "removed"),
    [({0, 1, 2, 3}, ""), ({0, 1, 2, 3, 8, 9, 10, 11, 12}, ""), (set(range(16)), ADDRESSES[3])],
    ids=["one socket only", "one core of the other", "not known of a GPU"],
)
def test_no_rank_is_bound_where_one_would_lose_its_share(
    devices: Path,
    bound: list[set[int]],
    monkeypatch: pytest.MonkeyPatch,
    allowed: set[int],
    removed: str,
) -> None:
    if removed:
        (devices / removed / "local_cpulist").unlink()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    for rank in range(4):
        bind_to_gpu(rank, ADDRESSES, devices)
    assert not bound and SHARE not in os.environ


def test_all_threads_of_a_real_process_are_bound(tmp_path: Path) -> None:
    """Also those that libraries have started, and processes that it starts know their share."""
    few = sorted(os.sched_getaffinity(0))[:2]
    core = few[-1]
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu/local_cpulist").write_text(f"{core}\n")
    code = (
        "import os, sys, threading; from pathlib import Path\n"
        "from hybrid_dist.runtime.cores import bind_to_gpu, own_cores\n"
        "wait = threading.Event(); threading.Thread(target=wait.wait).start()\n"
        "bind_to_gpu(0, ['gpu'], Path(sys.argv[1]))\n"
        "threads = [int(t) for t in os.listdir('/proc/self/task')]\n"
        "print(len(threads) > 1, {tuple(os.sched_getaffinity(t)) for t in threads}, own_cores())\n"
        "wait.set()\n"
    )
    command = [
        "taskset",
        "--cpu-list",
        ",".join(map(str, few)),
        sys.executable,
        "-c",
        code,
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"True {{({core},)}} 1\n"


def test_gpus_have_the_addresses_of_sysfs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        pci_domain_id, pci_bus_id, pci_device_id = 1, 0xDC, 0

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    assert cores.gpu_addresses(2) == ["0001:dc:00.0"] * 2


def test_a_start_on_gpus_binds_and_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun and accelerate leave torch one thread, on which AdamW would run if offloaded."""
    calls: list[Any] = []

    def stop(**_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(launch, "gpu_addresses", lambda count: ADDRESSES[:count])
    monkeypatch.setattr(launch, "bind_to_gpu", lambda *given: calls.append(given))
    monkeypatch.setattr(launch, "limit_threads", lambda environment: calls.append("threads"))
    monkeypatch.setattr("accelerate.Accelerator", stop)
    for name, value in {"LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InterruptedError):
        launch.start()
    assert calls == [(2, ADDRESSES), "threads"]
