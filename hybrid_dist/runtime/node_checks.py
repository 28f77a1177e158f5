"""What one machine has for training, beside its disk for runs: each machine looks for itself."""

import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

import torch

from hybrid_dist.runtime import operators
from hybrid_dist.runtime.cores import own_cores
from hybrid_dist.runtime.finding import Finding

FEWEST_CORES = 4
"""Of a rank on a GPU: launches, copies and tokenization keep as many busy."""
LEAST_MEMORY, LEAST_ROOM = 16e9, 5e9
"""Main memory for a rank, and room for temporary files, below which a line says slow."""
INFINIBAND, DRIVER = Path("/sys/class/infiniband"), Path("/proc/driver/nvidia/version")
CGROUPS = Path("/sys/fs/cgroup")
ECC = ("ecc.errors.uncorrected.volatile.total", "ecc.errors.uncorrected.aggregate.total")
XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-f:.]+)\): (\d+)")
OF_PROGRAMS = {13, 31, 43, 45}
"""Xids that a faulty or killed program causes; others are of the card, its memory or its links."""


def examine_node() -> list[Finding]:
    """Look at this machine. The lines are the same on every machine."""
    looks = (_cores, _memory, _memlock, _temporary, _ecc, _xids, _deepspeed)
    return [look() for look in looks]


def _cores() -> Finding:
    ranks, own = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), own_cores()
    message = f"{len(os.sched_getaffinity(0))} for this process, {own} of them its share"
    if torch.cuda.is_available() and own < FEWEST_CORES:
        remedy = f"give each GPU {FEWEST_CORES} or more, as in --cpus-per-gpu=8"
        return Finding("cores", "slow", f"{message} ({ranks} processes)", remedy)
    return Finding("cores", "ok", message)


def _memory() -> Finding:
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    total = min(_total_memory(), *_memory_limits())
    message = f"{total / 1e9:,.0f} GB for {ranks} process{'es' if ranks > 1 else ''}"
    if torch.cuda.is_available() and total / ranks < LEAST_MEMORY:
        return Finding("memory", "slow", message, "request more, as in --mem-per-gpu=32G")
    return Finding("memory", "ok", message)


def _total_memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _memory_limits(own: Path = Path("/proc/self/cgroup"), root: Path = CGROUPS) -> list[float]:
    """The limits of this process's cgroup and of those around it, such as a job's."""
    limits = [float("inf")]
    try:
        entries = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return limits
    for number, controllers, path in entries:
        if number == "0":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        for place in (Path(path), *Path(path).parents):
            file = base / str(place).lstrip("/") / name
            text = file.read_text().strip() if file.is_file() else "max"
            limits.append(float("inf") if text == "max" else float(text))
    return limits


def _memlock() -> Finding:
    """InfiniBand registers memory, which has to be locked."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    has_infiniband = INFINIBAND.is_dir() and any(INFINIBAND.iterdir())
    if limit == resource.RLIM_INFINITY:
        return Finding("memlock", "ok", "unlimited")
    message = f"{limit / 1024:,.0f} KiB of memory may be locked"
    if not has_infiniband:
        return Finding("memlock", "ok", f"{message}; there is no InfiniBand here")
    remedy = "ask the site for LimitMEMLOCK=infinity of slurmd; until then NCCL_IB_DISABLE=1"
    return Finding("memlock", "wrong", f"{message}, and InfiniBand has to lock more", remedy)


def _temporary() -> Finding:
    """Where PyTorch, W&B and Python write what they need for a short time."""
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile() as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        remedy = "set TMPDIR to a folder on a disk of the node"
        return Finding("temporary files", "wrong", f"none can be written: {error.strerror}", remedy)
    free = shutil.disk_usage(folder).free
    message = f"{folder}: {free / 1e9:,.1f} GB free"
    if free < LEAST_ROOM:
        return Finding("temporary files", "slow", message, "make room, or set TMPDIR")
    return Finding("temporary files", "ok", message)


def _ecc() -> Finding:
    """Errors of the GPUs' memory that could not be corrected."""
    lines = _output("nvidia-smi", f"--query-gpu=index,{','.join(ECC)}", "--format=csv,noheader")
    if lines is None:
        return Finding("ECC", "ok", "no nvidia-smi here that could be asked")
    bad, known = [], 0
    for line in lines.splitlines():
        gpu, now, ever = (part.strip() for part in line.split(","))
        known += now.isdecimal()
        if now.isdecimal() and int(now):
            bad.append(f"GPU {gpu}: {now} uncorrected errors since its driver started, {ever} ever")
    if bad:
        remedy = "leave this node out (--exclude), and tell the site"
        return Finding("ECC", "wrong", "; ".join(bad), remedy)
    return Finding("ECC", "ok", f"no uncorrected errors on the {known} GPUs that count them")


def _xids() -> Finding:
    """Faults of GPUs that the driver has reported to the kernel's log."""
    if not DRIVER.exists():
        return Finding("Xid", "ok", "no driver of NVIDIA here")
    log = _output("dmesg")
    if log is None:
        return Finding("Xid", "ok", "the kernel's log cannot be read here; the site can")
    faults = Counter((gpu, int(code)) for gpu, code in XID.findall(log))
    listed = ", ".join(
        f"Xid {code} on {gpu}, {count} times" if count > 1 else f"Xid {code} on {gpu}"
        for (gpu, code), count in faults.items()
    )
    if any(code not in OF_PROGRAMS for _, code in faults):
        remedy = "leave this node out (--exclude), and tell the site"
        return Finding("Xid", "wrong", listed, remedy)
    return Finding("Xid", "ok", f"{listed}: of programs, not of the card" if listed else "none")


def _output(*command: str) -> str | None:
    """What a program prints; None if there is none, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _deepspeed() -> Finding:
    if not operators.is_installed():
        return Finding("DeepSpeed", "ok", "not installed; needed for launchers/zero*.yaml only")
    message = f"deepspeed {metadata.version('deepspeed')}"
    missing = [tool for tool in ("g++", "ninja") if shutil.which(tool) is None]
    if missing:
        return Finding(
            "DeepSpeed",
            "wrong",
            f"{message}; its operators are compiled at first use, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            "install them, or load the site's compiler module",
        )
    folder = operators.operators_folder()
    if killed := operators.killed_compile(folder):
        problem, _, remedy = killed.partition("; ")
        return Finding("DeepSpeed", "wrong", f"{message}; {problem}", remedy)
    if torch.cuda.is_available():
        return Finding("DeepSpeed", "ok", f"{message}; on GPUs no operator has to be compiled")
    begin = time.monotonic()
    name, problem = operators.build()
    if problem:
        return Finding("DeepSpeed", "wrong", f"{message}; its operator: {problem}", f"see {folder}")
    seconds = time.monotonic() - begin
    return Finding("DeepSpeed", "ok", f"{message}; {name} in {folder}, {seconds:.0f} s")
