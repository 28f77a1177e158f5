"""`hybrid-dist init`: lay out the configs, launchers and SLURM scripts that runs start from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.config.command_options import parse
from hybrid_dist.runtime.templates import copy_templates
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Lay out the configs, launcher files and SLURM scripts that a training folder starts from.

    Example: hybrid-dist init my-retriever
    """

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder to fill; files that stand there already are left alone."""


def main(args: Sequence[str], program: str = "hybrid-dist init") -> None:
    options = parse(Options, args, program)
    for line in copy_templates(options.dir):
        print(printable(line))
    print(
        f"Next: cd {printable(options.dir)} && hybrid-dist toy --out runs/demo/toy && "
        f"hybrid-dist plan --config configs/demo.yaml"
    )
