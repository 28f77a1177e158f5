"""`hybrid-dist push RUN --to NAME`: publish a model with its card on the Hugging Face hub."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.loading_line import loading
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Upload the model of a run, or an exported model, to the Hugging Face hub. Its card,
    README.md, names the data, the mix and the figures of the run's evaluations.

    Example: hybrid-dist push runs/hybrid --to USER/hybrid --private --dry-run
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder, or a folder written by training, export or average."""
    to: Annotated[str, tyro.conf.arg(metavar="NAMESPACE/NAME")]
    """The repository; it is created unless it exists."""
    private: Flag = False
    """Create it as one that only its owners see."""
    license: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """State this licence in the card, by the hub's name for it, such as mit or apache-2.0."""
    dry_run: Flag = False
    """Show the files, their sizes and the card, and upload nothing."""


def main(args: Sequence[str], program: str = "hybrid-dist push") -> None:
    with report_errors(program):
        options = parse(Options, args, program)
        with loading(program):
            from hybrid_dist.reporting.publication import Publication
        publication = Publication.of(options.run, options.to, options.license)
        for note in publication.notes:
            _say(note)
        for line in publication.lines():
            print(printable(line))
        if options.dry_run:
            print(f"\n{printable(publication.card, lines=True)}")
            _say(f"nothing was uploaded to {options.to}")
        else:
            print(printable(publication.upload(options.private, _say)))


def _say(message: str) -> None:
    print(printable(message, lines=True), file=sys.stderr, flush=True)
