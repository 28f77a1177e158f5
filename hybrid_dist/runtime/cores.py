"""The cores of this process: its share of those that its machine's processes may use.

On machines with several sockets that share lies beside the process's GPU: AdamW under offloading,
FAISS and copies to the GPU would otherwise go through the memory of another socket.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

DEVICES = Path("/sys/bus/pci/devices")
SHARE = "HYBRID_DIST_CORES"
"""The share of a bound process; processes that it starts inherit it along with the binding."""


def limit_threads(environment: Mapping[str, str]) -> None:
    """Give torch this process's share of the cores; launchers give each process only one thread.

    A process without a launcher has the threads that its user set in OMP_NUM_THREADS.
    """
    launched = {"LOCAL_WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"} & environment.keys()
    if launched or "OMP_NUM_THREADS" not in environment:
        torch.set_num_threads(own_cores(environment))


def own_cores(environment: Mapping[str, str] = os.environ) -> int:
    """This process's share of the cores that the processes of this machine may use."""
    if SHARE in environment:
        return int(environment[SHARE])
    here = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // here)


def gpu_addresses(count: int) -> list[str]:
    """The PCI addresses of the first GPUs, as sysfs spells them."""
    return [_address(torch.cuda.get_device_properties(number)) for number in range(count)]


def _address(gpu: Any) -> str:
    return f"{gpu.pci_domain_id:04x}:{gpu.pci_bus_id:02x}:{gpu.pci_device_id:02x}.0"


def bind_to_gpu(rank: int, addresses: Sequence[str], devices: Path = DEVICES) -> None:
    """Keep this process on the cores beside its GPU, and record its share of them.

    `rank`: among the processes of this machine; `addresses`: of their GPUs. Only cores that this
    process may use already count. Where they leave a GPU without its fair share beside it, as when
    a job was given cores of one socket only, no process is bound.
    """
    if SHARE in os.environ:
        return
    allowed = os.sched_getaffinity(0)
    beside = [_cores_beside(devices / address) & allowed for address in addresses]
    shares = [len(own) / max(1, sum(own == other for other in beside)) for own in beside]
    if 2 * min(shares) < len(allowed) / len(addresses):
        return
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), beside[rank])
    os.environ[SHARE] = str(max(1, int(shares[rank])))


def _cores_beside(device: Path) -> set[int]:
    """The cores of a PCI device's socket; none if that is not known."""
    try:
        parts = (device / "local_cpulist").read_text().strip().split(",")
        ends = [part.partition("-") for part in parts if part]
        return {core for low, _, high in ends for core in range(int(low), int(high or low) + 1)}
    except (OSError, ValueError):
        return set()
