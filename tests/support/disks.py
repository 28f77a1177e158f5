"""Small disks of their own for tests: full ones, and ones that cannot be written."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def disk(folder: Path, *choices: str) -> Iterator[Path]:
    """A small disk of its own; only root may have one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(choices), "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, left: int) -> None:
    """Leave so many bytes of a disk."""
    with (folder / "filling").open("wb", 0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError:
            out.truncate(out.tell() - left)
