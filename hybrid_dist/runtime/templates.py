"""The configs, launcher files and SLURM scripts that `hybrid-dist init` copies."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hybrid_dist
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import atomic_file, check_room, made_parents, writing

PAGE = 4096
"""Bytes that a file takes on disk at least."""
PARTS = ("configs", "launchers", "slurm")


def source() -> Path:
    """Returns the folder that holds them: inside an installed package, or the checkout."""
    package = Path(hybrid_dist.__file__).resolve().parent
    installed = package / "files"
    return installed if (installed / PARTS[0]).is_dir() else package.parent


def copy_templates(target: Path) -> list[str]:
    """Copy the files that are missing, all or none. Returns a line about each file."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; name a folder to lay the files out in")
    files = [
        file
        for part in PARTS
        for file in sorted((source() / part).rglob("*"))
        if file.is_file() and file.suffix not in (".py", ".pyc")
    ]
    wanted = {target / file.relative_to(source()): file for file in files}
    missing = {copy: file for copy, file in wanted.items() if not copy.exists()}
    needed = sum(-(-file.stat().st_size // PAGE) * PAGE for file in missing.values())
    check_room(target, needed)
    with writing(target, needed=needed), ExitStack() as made:
        for copy, file in missing.items():
            made.enter_context(made_parents(copy))
            made.enter_context(_copied(file, copy))
    return [_result(file, copy, copy in missing) for copy, file in wanted.items()]


@contextmanager
def _copied(file: Path, copy: Path) -> Iterator[None]:
    """Copy a file with its mode; the copy is removed if the block fails."""
    content = file.read_bytes()
    with atomic_file(copy, durable=False, needed=len(content)) as out:
        out.write(content)
        os.fchmod(out.fileno(), file.stat().st_mode & 0o777)
    try:
        yield
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def _result(file: Path, copy: Path, is_new: bool) -> str:
    if is_new:
        return f"{copy}"
    same = copy.read_bytes() == file.read_bytes()
    return f"{copy}: {'already there' if same else 'kept, though it differs'}"
