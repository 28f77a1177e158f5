"""`hybrid-dist init`: a folder to train in, from templates or for a user's own pairs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.config.command_options import parse
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.runtime.loading_line import loading
from hybrid_dist.runtime.templates import copy_templates
from hybrid_dist.text import printable

MODEL = "intfloat/multilingual-e5-small"
MOST_GPUS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """Lay out the configs, launcher files and SLURM scripts that a training folder starts from.
    With --data, also look at your pairs, set some aside, and write a config for them and this
    machine, with the reason for each value.

    Example: hybrid-dist init my-retriever --data 'pairs/*.jsonl'
    """

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder to fill; files that stand there already are left alone."""
    data: tuple[str, ...] = ()
    """Your pairs: files, quoted globs or a prepared store."""
    model: str = MODEL
    """With --data: the model to start from, a folder or a name on the hub."""
    gpus: int | None = None
    """With --data: the number of GPUs to train on; by default those of this machine."""
    skip_bad: int = 0
    """With --data: skip up to this many bad lines."""


def main(args: Sequence[str], program: str = "hybrid-dist init") -> None:
    with report_errors(program):
        options = parse(Options, args, program)
        if options.data:
            _for_pairs(options, program)
        else:
            _templates(options)


def _templates(options: Options) -> None:
    for name in ("model", "gpus", "skip_bad"):
        if getattr(options, name) != getattr(Options(dir=options.dir), name):
            raise UserError(f"--{name.replace('_', '-')}: belongs to --data; give your pairs")
    for line in copy_templates(options.dir):
        print(printable(line))
    print(
        f"Next: cd {printable(options.dir)} && hybrid-dist toy --out runs/demo/toy && "
        f"hybrid-dist plan --config configs/demo.yaml"
    )


def _for_pairs(options: Options, program: str) -> None:
    if options.gpus is not None and not 0 <= options.gpus <= MOST_GPUS:
        raise UserError(f"--gpus: {options.gpus} is out of range; give 0 to {MOST_GPUS:,}")
    if options.skip_bad < 0:
        raise UserError(f"--skip-bad: {options.skip_bad} is too few; give 0 or more")
    with loading(program):
        from rich.console import Console

        from hybrid_dist.data.reading import Reading
        from hybrid_dist.model.repository import naming_flag
        from hybrid_dist.model.starting_point import StartingPoint
        from hybrid_dist.reporting.init_summary import language_table
        from hybrid_dist.runtime.machine import Machine
        from hybrid_dist.training.own_pairs import CONFIG, check_new, lay_out

    folder = options.dir
    check_new(folder)
    reading = Reading(skip_bad=options.skip_bad)
    model = Path(options.model)
    with naming_flag("--model"):
        start = StartingPoint.of(str(model.absolute()) if model.is_dir() else options.model)
    machine = Machine.here(options.gpus)
    proposal, notes = lay_out(folder, options.data, start, machine, reading)
    copy_templates(folder)
    Console().print(language_table(proposal.facts))
    parts = proposal.parts
    print(printable(f"Machine: {machine}"))
    print(f"Held out: {parts.dev:,} pairs for the loss, {parts.heldout:,} for the report")
    if reading.bad:
        print(f"Skipped: {len(reading.bad):,} bad lines, such as {printable(reading.bad[0])}")
    for note in notes:
        print(printable(f"Note: {note}"))
    print(printable(f"Written: {folder / CONFIG}, and launchers/, slurm/ and configs/ beside it"))
    place = printable(shlex.quote(str(folder)))
    print(f"Next:\n  cd {place}\n  hybrid-dist plan --config {CONFIG}")
    print(f"  hybrid-dist train --config {CONFIG}")
