"""The files that a training folder starts from: configs, launchers, SLURM scripts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from hybrid_dist.errors import UserError

PARTS = ("configs", "launchers", "slurm")


def source() -> Path:
    """The folder that holds them: inside an installed package, else the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "files"
    return installed if (installed / PARTS[0]).is_dir() else package.parent


def lay_out(target: Path) -> Iterator[str]:
    """Copy what is not there yet; tell of every file."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; name a folder to lay the files out in")
    for part in PARTS:
        for file in sorted((source() / part).rglob("*")):
            if not file.is_file() or file.suffix in (".py", ".pyc"):
                continue
            copy = target / file.relative_to(source())
            if copy.exists():
                same = copy.read_bytes() == file.read_bytes()
                yield f"{copy}: {'there already' if same else 'left alone, though it differs'}"
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
            yield f"{copy}"
