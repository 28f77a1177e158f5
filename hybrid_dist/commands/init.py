"""`hybrid-dist init`: lay out the configs, launchers and SLURM scripts that runs start from."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import hybrid_dist
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import atomic_file, check_room, made_parents, writing
from hybrid_dist.text import printable

PAGE = 4096
"""Bytes that disks give to a file at least."""
PARTS = ("configs", "launchers", "slurm")


def source() -> Path:
    """The folder that holds them: inside an installed package, else the checkout."""
    package = Path(hybrid_dist.__file__).resolve().parent
    installed = package / "files"
    return installed if (installed / PARTS[0]).is_dir() else package.parent


def copy_templates(target: Path) -> list[str]:
    """Copy what is not there yet, all of it or nothing; a line about every file."""
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
    return [_told(file, copy, copy in missing) for copy, file in wanted.items()]


@contextmanager
def _copied(file: Path, copy: Path) -> Iterator[None]:
    """A copy with the file's mode; it goes again where the block fails."""
    content = file.read_bytes()
    with atomic_file(copy, durable=False, needed=len(content)) as out:
        out.write(content)
        os.fchmod(out.fileno(), file.stat().st_mode & 0o777)
    try:
        yield
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def _told(file: Path, copy: Path, is_new: bool) -> str:
    if is_new:
        return f"{copy}"
    same = copy.read_bytes() == file.read_bytes()
    return f"{copy}: {'there already' if same else 'left alone, though it differs'}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Lay out the configs, launcher files and SLURM scripts that a training folder starts from.

    Example: hybrid-dist init my-retriever
    """

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder to fill; files that stand there already are left alone."""


def main(args: Sequence[str], program: str = "hybrid-dist init") -> None:
    options = tyro.cli(Options, args=args, prog=program)
    for line in copy_templates(options.dir):
        print(printable(line))
    print(
        f"Next: cd {printable(options.dir)} && hybrid-dist toy --out runs/demo/toy && "
        f"hybrid-dist plan --config configs/demo.yaml"
    )
