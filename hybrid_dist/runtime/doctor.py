"""What a machine, or an allocation, has for training: looked at and tried, not guessed."""

import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist

from hybrid_dist.errors import short_list
from hybrid_dist.runtime import bandwidth, environment, faiss_build
from hybrid_dist.runtime.finding import Finding, over_machines
from hybrid_dist.runtime.network import own_address
from hybrid_dist.runtime.node_checks import examine_node
from hybrid_dist.runtime.ranks import Ranks, backend

MESSAGE, TURNS = 64 << 20, 5
"""Bytes that every rank sends, and how often, after a first time."""
WRITTEN = 256 << 20
SLOW_NETWORK, SLOW_DISK, LITTLE_ROOM = 5e9, 1e8, 20e9
"""Bytes a second between GPUs, and to the disk, and bytes free, below which a line says slow."""


def examine(ranks: Ranks, folder: Path) -> list[Finding]:
    """Look at everything. All ranks call this together, and all get the same lines."""
    findings = [*_of_machines(ranks), *_together(ranks)]
    if ranks.is_first:
        own: tuple[Callable[[], Iterator[Finding]], ...]
        own = (_devices, _faiss, lambda: _disk(folder), _wandb, _hub, _network)
        findings = [*(finding for look in own for finding in look()), *findings]
    message: list[Finding] = ranks.broadcast_from_first(findings)
    return message


def _of_machines(ranks: Ranks) -> list[Finding]:
    """What every machine finds of itself, by its first process."""
    is_first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    found = ranks.gather((socket.gethostname(), examine_node() if is_first_here else []))
    return over_machines({host: lines for host, lines in found if lines})


def _together(ranks: Ranks) -> Iterator[Finding]:
    """What concerns all ranks: whether they have the same, and how fast they exchange it."""
    others = ranks.gather((socket.gethostname(), environment.versions()))
    names = [name for name in others[0][1] if len({message[name] for _, message in others}) > 1]
    hosts = len({host for host, _ in others})
    message = f"{ranks.world} on {hosts} machine{'s' if hosts > 1 else ''}, {ranks.device.type}"
    if names:
        at = {host: ", ".join(f"{n} {message[n]}" for n in names) for host, message in others}
        listed = "; ".join(f"{host}: {versions}" for host, versions in at.items())
        yield Finding("processes", "wrong", listed, "install the same versions everywhere")
    else:
        yield Finding("processes", "ok", message)
    if ranks.world == 1:
        yield Finding(
            "collectives", "ok", "one process; start with accelerate launch to try several"
        )
        return
    yield from _between_machines(ranks, [host for host, _ in others])
    for name, seconds, sent in _collectives(ranks):
        rate = sent / seconds
        slow = ranks.device.type == "cuda" and rate < SLOW_NETWORK
        yield Finding(
            name,
            "slow" if slow else "ok",
            f"{rate / 1e9:.2f} GB/s a rank ({backend(ranks.device.type)}, "
            f"{MESSAGE >> 20} MiB, {seconds * 1000:.1f} ms)",
            "NCCL_DEBUG=INFO says which way it takes; set NCCL_SOCKET_IFNAME" if slow else "",
        )


def _between_machines(ranks: Ranks, hosts: Sequence[str]) -> Iterator[Finding]:
    """How fast each two machines exchange data. `hosts`: the machine of every rank."""
    leaders = [rank for rank, host in enumerate(hosts) if host not in hosts[:rank]]
    if len(leaders) == 1:
        return
    found = bandwidth.rates(ranks, leaders)
    (one, two), least = min(found.items(), key=lambda item: item[1])
    message = (
        f"{least / 1e9:.2f} GB/s between {hosts[one]} and {hosts[two]}, the slowest of "
        f"{len(found)} pairs; {median(found.values()) / 1e9:.2f} GB/s in the median"
    )
    if slow := [hosts[rank] for rank in bandwidth.slow_members(found)]:
        remedy = "leave slow machines out (sbatch --exclude), and tell the site"
        yield Finding("machines", "slow", f"{short_list(slow)} slow; {message}", remedy)
    else:
        yield Finding("machines", "ok", message)


def _collectives(ranks: Ranks) -> Iterator[tuple[str, float, float]]:
    """Names, seconds of the slowest rank, and bytes that each rank has to send at least."""
    own = torch.ones(MESSAGE // 4 // ranks.world * ranks.world, device=ranks.device)
    parts = list(torch.empty_like(own).chunk(ranks.world))
    piece = own[: len(own) // ranks.world].clone()
    share = (ranks.world - 1) / ranks.world
    yield "all-gather", _timed(ranks, lambda: dist.all_gather(parts, piece)), MESSAGE * share
    yield "all-reduce", _timed(ranks, lambda: dist.all_reduce(own)), 2 * MESSAGE * share


def _timed(ranks: Ranks, action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TURNS + 1):
        ranks.barrier()
        begin = time.perf_counter()
        action()
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    slowest = [max(turn) for turn in zip(*ranks.gather(seconds[1:]), strict=True)]
    return sorted(slowest)[TURNS // 2]


def _devices() -> Iterator[Finding]:
    message = f"torch {torch.__version__}, {len(os.sched_getaffinity(0))} cores"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        if built is None:
            yield Finding("GPUs", "ok", f"{message}; this torch is built without CUDA")
        elif Path("/proc/driver/nvidia/version").exists():
            yield Finding(
                "GPUs",
                "wrong",
                f"{message}; a driver is there, but torch (CUDA {built}) sees no GPU",
                "ask for GPUs in this job, look at CUDA_VISIBLE_DEVICES, or update the driver",
            )
        else:
            yield Finding("GPUs", "ok", f"{message}, CUDA {built}; this machine has no driver")
        return
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    version = Path("/proc/driver/nvidia/version")
    driver = version.read_text().split("\n")[0].strip() if version.exists() else "unknown driver"
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    message += f", CUDA {torch.version.cuda}, NCCL {nccl}; {', '.join(names)}; {driver}"
    kinds, built_for = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    if f"sm_{kinds[0]}{kinds[1]}" in built_for or not built_for:
        yield Finding("GPUs", "ok", message)
    else:
        yield Finding(
            "GPUs", "slow", f"{message}; torch is built for {', '.join(built_for)}", "update torch"
        )


def _faiss() -> Iterator[Finding]:
    """Which FAISS is installed, and whether it searches on the first GPU, or on the CPU."""
    remedy = faiss_build.remedy()
    on_gpu = torch.cuda.is_available()
    build = faiss_build.try_faiss(0 if on_gpu else None)
    names = faiss_build.packages()
    message = f"{', '.join(names) or 'faiss'}{' with cuVS' if build.cuvs else ''}"
    where = torch.cuda.get_device_name(0) if on_gpu else "the CPU"
    if len(names) > 1:
        yield Finding("FAISS", "wrong", f"{message}: they overwrite each other's files", remedy)
    elif not build.problem:
        yield Finding("FAISS", "ok", f"{message}; a search on {where} gives what it should")
    elif on_gpu or not names:
        yield Finding("FAISS", "slow", f"{build.problem}; torch searches", remedy)
    else:
        yield Finding("FAISS", "wrong", f"{message}: {build.problem}", remedy)


def _disk(folder: Path) -> Iterator[Finding]:
    """Where runs are written: whether that can be, how fast, and how much."""
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    file = there / f".hybrid_dist-doctor-{os.getpid()}"
    try:
        begin = time.perf_counter()
        with file.open("wb") as out:
            for _ in range(WRITTEN >> 20):
                out.write(bytes(1 << 20))
            out.flush()
            os.fsync(out.fileno())
        rate = WRITTEN / (time.perf_counter() - begin)
    except OSError as error:
        remedy = "name another folder with --folder, or make room"
        yield Finding("run folder", "wrong", f"{folder}: {error.strerror}", remedy)
        return
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)
    free = shutil.disk_usage(there).free
    message = f"{folder}: {rate / 1e6:,.0f} MB/s written, {free / 1e9:,.0f} GB free"
    slow = rate < SLOW_DISK or free < LITTLE_ROOM
    remedy = "a checkpoint of XLM-R large is 6.7 GB: choose a faster or larger disk" if slow else ""
    yield Finding("run folder", "slow" if slow else "ok", message, remedy)


def _wandb() -> Iterator[Finding]:
    if importlib.util.find_spec("wandb") is None:
        yield Finding("W&B", "ok", "not installed; metrics.jsonl has everything")
        return
    import wandb

    where = wandb.Settings().base_url
    if wandb.login(prompt=False, verify=False):
        yield Finding("W&B", "ok", f"a key for {where} is there")
    else:
        yield Finding("W&B", "ok", f"no key for {where}: runs stay offline; wandb login sets one")


def _hub() -> Iterator[Finding]:
    """Asks the hub with the client that loads models, so that proxies and certificates count."""
    from huggingface_hub import constants, get_session

    cache = Path(constants.HF_HUB_CACHE)
    models = len([*cache.glob("models--*")])
    kept = f"{models} model{'' if models == 1 else 's'} in {cache}"
    prefetch = "hybrid-dist prefetch CONFIG, where there is a network and with the same HF_HOME"
    if constants.HF_HUB_OFFLINE:
        message = f"offline (HF_HUB_OFFLINE); {kept}"
        yield Finding("model hub", "ok" if models else "slow", message, "" if models else prefetch)
        return
    try:
        answer = get_session().get(f"{constants.ENDPOINT}/api/models?limit=1", timeout=10)
    except Exception as error:  # of httpx, or of the requests of older clients
        problem = f"does not answer ({type(error).__name__}: {str(error)[:100]})"
    else:
        problem = f"answers {answer.status_code}" if answer.status_code >= 500 else ""
    if problem:
        remedy = f"{prefetch}; then HF_HUB_OFFLINE=1"
        yield Finding("model hub", "slow", f"{constants.ENDPOINT} {problem}; {kept}", remedy)
    else:
        yield Finding("model hub", "ok", f"{constants.ENDPOINT} answers; {kept}")


def _network() -> Iterator[Finding]:
    """Whether other machines could reach this one by its name, and a port can be had."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
        with socket.socket() as free:
            free.bind(("", 0))
    except OSError as error:
        remedy = "add it to /etc/hosts, or give --main_process_ip an address"
        yield Finding("network", "wrong", f"{name}: {error.strerror}", remedy)
        return
    several = int(os.environ.get("SLURM_NNODES", "1")) > 1
    if several and (head := os.environ.get("MASTER_ADDR")):
        address = own_address(head) or address  # by which ranks know it, whatever its name says
    if address.startswith("127.") and several:
        remedy = "other machines cannot reach it: give --main_process_ip the address of this node"
        yield Finding("network", "slow", f"{name} is {address}", remedy)
    else:
        yield Finding("network", "ok", f"{name} is {address}; a port can be had")
