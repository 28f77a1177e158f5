"""What the installed FAISS can do: whether it works, and on which devices.

FAISS aborts the process where a card is one that it has no kernels for. So it is tried in a process
of its own.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass

import torch

ABSENT = "faiss is not installed"
TRIAL_SECONDS = 120
"""A search of eight vectors takes seconds, most of them for loading libraries."""
TRIAL = """
import json, sys
import numpy as np
import faiss
on_gpus = hasattr(faiss, "StandardGpuResources")
cuvs = on_gpus and bool(faiss.GpuClonerOptions().use_cuvs)
print(json.dumps({"version": faiss.__version__, "on_gpus": on_gpus, "cuvs": cuvs}), flush=True)
vectors, device = np.eye(8, dtype=np.float32), int(sys.argv[1])
product = faiss.METRIC_INNER_PRODUCT
if device < 0:
    rows = faiss.knn(vectors, vectors, 1, metric=product)[1]
elif on_gpus:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(1 << 24)
    rows = faiss.knn_gpu(resources, vectors, vectors, 1, metric=product, device=device)[1]
else:
    sys.exit("it is built without GPUs")
print(json.dumps((rows[:, 0] == np.arange(8)).all().tolist()))
"""


@dataclass(frozen=True)
class FaissBuild:
    """The installed FAISS, as one device showed it."""

    version: str = ""
    """Empty where it is not installed, or cannot be imported."""
    on_gpus: bool = False
    """Whether it is built for GPUs."""
    cuvs: bool = False
    """Whether it searches with cuVS."""
    problem: str = ""
    """Why it does not serve the device; empty: it does."""


def try_faiss(device: int | None = None) -> FaissBuild:
    """Search a few vectors in a new process, once: on this GPU, or on the CPU."""
    if not is_installed():
        return FaissBuild(problem=ABSENT)
    return _tried(device)


@functools.cache
def _tried(device: int | None) -> FaissBuild:
    command = [sys.executable, "-c", TRIAL, str(-1 if device is None else device)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return FaissBuild(problem=f"faiss does not finish a search in {TRIAL_SECONDS} s")
    lines = done.stdout.splitlines()
    if not lines:
        return FaissBuild(problem=f"faiss cannot be imported ({_last_line(done.stderr)})")
    build = FaissBuild(**json.loads(lines[0]))
    name = f"faiss {build.version}"
    if device is not None and not build.on_gpus:
        problem = f"{name} is built without GPUs"
    elif done.returncode:
        where = "the CPU" if device is None else _card(device)
        problem = f"{name} does not run on {where} ({_last_line(done.stderr)})"
    elif lines[1] != "true":
        problem = f"a search by {name} gives wrong rows"
    else:
        return build
    return FaissBuild(build.version, build.on_gpus, build.cuvs, problem)


def is_installed() -> bool:
    """Whether there is a module faiss; it is not imported."""
    return importlib.util.find_spec("faiss") is not None


def import_problem() -> str:
    """Why this process cannot import FAISS; empty: it can."""
    if not is_installed():
        return ABSENT
    try:
        importlib.import_module("faiss")
    except Exception as error:  # some packages load CUDA's libraries: not only ImportError
        return f"faiss cannot be imported ({error})"
    return ""


def packages() -> list[str]:
    """The installed packages that contain a module faiss, with their versions."""
    names = sorted(importlib.metadata.packages_distributions().get("faiss", []))
    return [f"{name} {importlib.metadata.version(name)}" for name in dict.fromkeys(names)]


def extra() -> str:
    """The extra of this package whose FAISS goes with the installed torch."""
    cuda = torch.version.cuda
    if cuda is None:
        return "cpu"
    return "gpu" if int(cuda.split(".")[0]) < 13 else "gpu-cu13"


def remedy() -> str:
    """Installs the FAISS that goes with the installed torch, and no second one."""
    names = " ".join(package.split()[0] for package in packages())
    first = f"pip uninstall {names}, then " if names else ""
    return f'{first}pip install "hybrid_dist[{extra()}]"'


def _card(device: int) -> str:
    if not torch.cuda.is_available():
        return f"GPU {device}"
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} (sm_{major}{minor})"


def _last_line(text: str) -> str:
    last = (text.strip().splitlines() or ["no message"])[-1]
    return last.rpartition("details: ")[2][:200]
