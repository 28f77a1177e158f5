"""Main memory that this process may still take."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes of main memory that are free, on this machine and in this process's cgroups, such as
    those of a job's --mem."""
    free = _number(Path("/proc/meminfo").read_text(), "MemAvailable:") * 1024
    for group in _cgroups():
        with suppress(OSError, ValueError):  # no cgroup of version 2, or a limit of "max"
            limit, used = (
                int((group / f"memory.{name}").read_text()) for name in ("max", "current")
            )
            cached = _number((group / "memory.stat").read_text(), "\ninactive_file")
            free = min(free, limit - used + cached)
    return free


def _cgroups() -> Iterator[Path]:
    """The folder of this process's cgroup, and those above it."""
    try:
        path = Path("/proc/self/cgroup").read_text().partition("0::/")[2].split("\n")[0]
    except OSError:
        return
    for group in (CGROUPS / path, *(CGROUPS / path).parents):
        if group.is_relative_to(CGROUPS):
            yield group


def _number(text: str, name: str) -> int:
    """The number after a name."""
    return int(text.partition(name)[2].split()[0])
