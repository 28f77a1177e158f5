"""Run as a user without read permission, since root may read everything."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nobody(closed: Path) -> Iterator[None]:
    """A process without permission to read or enter one path; all folders above it are open."""
    root = os.geteuid() == 0
    for folder in closed.parents:
        if root and folder.parent != folder:
            folder.chmod(folder.stat().st_mode | 0o055)
    mode = closed.stat().st_mode
    closed.chmod(0)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(mode)
