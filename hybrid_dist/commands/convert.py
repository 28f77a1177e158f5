"""`hybrid-dist convert`: the pairs of a store in the files of other trainers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.data.export.conversion import Choices, convert
from hybrid_dist.data.export.exported_pairs import ExportedPairs
from hybrid_dist.data.store.reader import Store
from hybrid_dist.runtime import progress_bar
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the pairs of a store in the files of other trainers, which then train on the same.

    Example: hybrid-dist convert stores/mine --to sentence-transformers --out tuples
    """

    store: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """A store, or pair files."""
    to: Annotated[
        Literal["sentence-transformers", "flagembedding", "tevatron", "beir", "parquet"],
        tyro.conf.arg(metavar="LAYOUT"),
    ]
    """sentence-transformers, flagembedding, tevatron, beir, or parquet, that of pair files."""
    out: Path
    """A new folder; for parquet a new file, NAME.parquet."""
    languages: tuple[str, ...] = ()
    """These languages only."""
    negatives: int | None = None
    """sentence-transformers: the negatives of each row; pairs with fewer are left out. By default
    as many as every pair has."""
    pool: Flag = False
    """beir: one folder for all languages, in which a query is judged with its passages in each."""


def main(args: Sequence[str], program: str = "hybrid-dist convert") -> None:
    options = parse(Options, args, program)
    pairs = ExportedPairs.of(Store.open(options.store), options.store, options.languages)
    with progress_bar.shown():
        choices = Choices(options.negatives, options.pool)
        written, notes = convert(pairs, options.to, options.out, choices)
    count = sum(written.values())
    summary = f"{count:,} pairs in {len(written)} languages, for {options.to}"
    print(printable(f"{options.out}: {summary}"))
    for note in notes:
        print(printable(note))
