"""DeepSpeed's operators, which are compiled at first use, and locks of compiles that were killed.

PyTorch makes a file before it compiles an operator, and removes it afterwards. Whoever finds the
file waits for its removal: if the compile was killed, for ever.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

LOCK = "lock"
MINUTES_OF_A_COMPILE = 30
"""No operator takes longer: an older lock is a killed compile's."""
BUILD = (
    "from deepspeed.accelerator import get_accelerator as accelerator\n"
    "builder = accelerator().create_op_builder('ShareMemCommBuilder')\n"
    "builder.load()\nprint(builder.name)"
)
"""The one operator that the launcher files need: on CPUs, for collectives inside a machine."""


def operators_folder() -> Path:
    """Where PyTorch compiles operators."""
    if given := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(given)
    from torch.utils.cpp_extension import get_default_build_root  # a second

    return Path(get_default_build_root())


def killed_compile(folder: Path, minutes: float = MINUTES_OF_A_COMPILE) -> str:
    """The lock of a compile that has ended without removing it, and what to do; empty: none."""
    for lock in sorted(_locks(folder)):
        with suppress(FileNotFoundError):  # that compile has just ended
            age = (time.time() - lock.stat().st_mtime) / 60
            if age > minutes:
                return (
                    f"{lock}: is {age:.0f} minutes old, so the compile that made it was killed, "
                    f"and whoever needs its operator waits for ever; rm {lock}"
                )
    return ""


def build(seconds: float = 60 * MINUTES_OF_A_COMPILE) -> tuple[str, str]:
    """Compile the operator that launcher files for CPUs need: its name, and what went wrong.

    In a process of its own, whose lock is removed if it is ended by this one.
    """
    folder = operators_folder()
    before = _locks(folder)
    done = subprocess.Popen(
        [sys.executable, "-c", BUILD],
        env={**os.environ, "DS_ACCELERATOR": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = done.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(done.pid, signal.SIGKILL)
        done.wait()
        for lock in _locks(folder) - before:
            lock.unlink(missing_ok=True)
        if isinstance(error, subprocess.TimeoutExpired):
            return "", f"not compiled within {seconds:.0f} s"
        raise
    if done.returncode:
        return "", (errors.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
    return output.strip().splitlines()[-1], ""


def _locks(folder: Path) -> set[Path]:
    """By default PyTorch has a folder for each version above those of operators."""
    return {*folder.glob(f"*/{LOCK}"), *folder.glob(f"*/*/{LOCK}")}


def is_installed() -> bool:
    return find_spec("deepspeed") is not None
