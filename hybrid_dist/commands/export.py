"""`hybrid-dist export CHECKPOINT --out DIR`: the model in a checkpoint, as a model folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the model in a checkpoint as a folder that transformers, sentence-transformers and
    hybrid_dist load, as training does at its end.

    Example: hybrid-dist export runs/hybrid/checkpoints/step-002000 --out models/step-2000
    """

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A folder RUN/checkpoints/step-NUMBER."""
    out: Path
    """Folder to write; it must not exist, or be empty."""
    trust_remote_code: Flag = False
    """Run the Python code that the model's folder or repository contains: read it first."""


def main(args: Sequence[str], program: str = "hybrid-dist export") -> None:
    options = parse(Options, args, program)
    from hybrid_dist.reporting.model_card import write_card
    from hybrid_dist.training.checkpoint.trained_model import export, run_of

    export(options.checkpoint, options.out, options.trust_remote_code)
    run, step = run_of(options.checkpoint), options.checkpoint.resolve().name
    write_card(run, options.out, run / "eval" / step)
    print(printable(f"{options.out}: the model of {options.checkpoint}"))
