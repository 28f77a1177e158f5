"""What a run ran on: versions, commit, devices. Written into the run folder."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import hybrid_dist

COMMIT = "COMMIT"
"""The file beside a copy of the package that names the commit it was copied from."""
PACKAGES = (
    "torch",
    "accelerate",
    "transformers",
    "deepspeed",
    "tokenizers",
    "numpy",
    "pyarrow",
    "wandb",
)


def versions() -> dict[str, str | None]:
    """Of this project and of what its results depend on."""
    return {"hybrid_dist": hybrid_dist.__version__} | {name: _version(name) for name in PACKAGES}


def describe(world: int, strategy: str) -> dict[str, Any]:
    import torch  # seconds to import, and versions() can do without

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "hybrid_dist": hybrid_dist.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {
            name: _version(name) for name in (*PACKAGES, "faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")
        },
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "cpus": len(os.sched_getaffinity(0)),
        "host": platform.node(),
        "platform": platform.platform(),
        "processes": world,
        "strategy": strategy,
        "command": sys.argv,
    }


def commit() -> str | None:
    """The checkout's commit, with `+changes` when files differ from it; none outside a checkout.

    In the snapshot of a job it is that of the package that was copied.
    """
    here = Path(hybrid_dist.__file__).resolve().parents[1]
    if (here / COMMIT).is_file():
        return (here / COMMIT).read_text("utf-8").strip()
    if not (here / ".git").exists():
        return None
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+changes" if _git(here, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *args], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
