"""An environment for each peer, with what its own instructions install."""

import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

TEVATRON = (
    "tevatron @ git+https://github.com/texttron/tevatron@dd063104c81a76d6a77c845f667b46b9e5abd625"
)
GRAD_CACHE = "GradCache @ git+https://github.com/luyug/GradCache"


@dataclass(frozen=True)
class Side:
    """One of the libraries that are compared."""

    name: str
    program: str
    """A file beside this one."""
    requirements: tuple[str, ...] = ()
    """What pip installs; none for our own environment."""
    trains: bool = True
    torch: str = ""
    """The version of torch, if it does not run with ours."""


OURS = Side("hybrid_dist", "side_hybrid_dist.py")
PEERS = (
    Side(
        "sentence-transformers", "side_sentence_transformers.py", ("sentence-transformers[train]",)
    ),
    # 1.4.2 imports what transformers 5.24 no longer has, though it allows it
    Side("FlagEmbedding", "side_flagembedding.py", ("FlagEmbedding", "transformers<5.24")),
    Side(
        "Tevatron",
        "side_tevatron.py",
        (TEVATRON, GRAD_CACHE, "transformers", "datasets", "peft", "accelerate", "pillow"),
    ),
    # 1.6.0 requires a fast-plaid that is built for torch 2.7 to 2.11
    Side("PyLate", "side_pylate.py", ("pylate>=1.6",), torch="torch"),
    Side("MTEB", "side_mteb.py", ("mteb",), trains=False),
)


class Failed(Exception):
    """A peer could not be installed, or its program did not run; the last line says why."""


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[-1][:300]


def python_of(side: Side, folder: Path, pip_args: list[str]) -> str:
    """The Python of a side; the first call installs it. Raises Failed.

    All use the version of torch of this process where they can, so that its kernels are no
    difference. An environment made by hand is used if it has a file `ready`.
    """
    if not side.requirements:
        return sys.executable
    place = folder / side.name.lower()
    python = str(place / "bin" / "python")
    if not (place / "ready").exists():
        print(f"{side.name}: set up in {place}", flush=True)
        begin = time.monotonic()
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *pip_args]
        torch = side.torch or f"torch=={version('torch').partition('+')[0]}"
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [*pip, torch, *side.requirements],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Failed(f"not installed: {last_line(done.stderr)}")
        (place / "ready").write_text(f"{time.monotonic() - begin:.0f} s\n", "utf-8")
    return python
