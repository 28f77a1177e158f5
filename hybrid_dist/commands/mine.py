"""Mine hard negatives: `accelerate launch -m hybrid_dist.mine STORE --model M --out STORE2`.

`hybrid-dist mine` takes the same options and runs one process.
"""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.console import Console
from rich.table import Column, Table

from hybrid_dist.config.command_options import parse
from hybrid_dist.config.embedding import EmbeddingOptions
from hybrid_dist.errors import report_errors
from hybrid_dist.evaluation.search import Search
from hybrid_dist.mining.cross_encoding import Rescorer
from hybrid_dist.mining.job import MiningJob
from hybrid_dist.mining.mined_store import REPORT, Findings
from hybrid_dist.mining.mining_report import COLUMNS, LEGEND, rows
from hybrid_dist.mining.rules import Rules, Sample
from hybrid_dist.reporting.evaluation_job import load_model
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.files import bytes_of
from hybrid_dist.runtime.launch import check_machine, start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.text import cell, printable

HANG_MINUTES = 60
"""Longer than by default: the other ranks wait while the first copies a large store."""


@dataclass(frozen=True, kw_only=True)
class Options(EmbeddingOptions):
    """Mine hard negatives for the pairs of a store: passages that a model ranks high for a query
    and that are not known to be relevant to it. The result is a store with these negatives, to
    train on with batching.hard_negatives.

    Example: hybrid-dist mine stores/mine --model runs/hybrid --out stores/mined --relative 0.95
    """

    store: Annotated[Path, tyro.conf.Positional]
    """The store, as `hybrid-dist prepare` writes it. Negatives that it has are replaced; they stay
    in the pool."""
    model: str
    """A run folder, a checkpoint in one, a saved model, or a name or folder that transformers or
    sentence-transformers loads."""
    out: Path
    """Folder of the new store; it must not exist, or be empty. An interrupted command goes on
    where it was."""
    pool: Annotated[tuple[str, ...], tyro.conf.arg(metavar="own|all|LANGUAGE ...")] = ("own",)
    """The passages that a query is ranked against: those in its pair's language, of all languages,
    or of the named ones."""
    first: Annotated[int, tyro.conf.arg(name="from")] = Rules.first
    """The first rank of the window that negatives are chosen from. Ranks start at 1 and leave out
    passages that share a text, uid or translation with a positive of the query, which are never
    chosen."""
    last: Annotated[int, tyro.conf.arg(name="to")] = Rules.last
    """The last rank of the window."""
    number: int = Rules.number
    """Negatives of each query; fewer where the window has fewer after the filters."""
    sample: Sample = Rules.sample
    """Draw them from the window at random, or take its best."""
    seed: int = Rules.seed
    """The seed of --sample random."""
    relative: float | None = None
    """Remove passages that score above this share of the positive's score, such as 0.95: they are
    probably relevant too."""
    absolute: float | None = None
    """Remove passages that score above the positive's score minus this margin, such as 0.05."""
    rescore: str | None = None
    """A CrossEncoder of sentence-transformers that scores the passages of the window and the
    positive again, for the filters, for --sample top and for the scores that are kept."""
    search: Search = "auto"
    """What searches: FAISS where it can be used (auto), or torch. The result is the same."""
    cache: Path | None = None
    """Keep the vectors of --model here, for other windows and filters. On a disk that all nodes
    see; N texts take 4 x N x dimension bytes. By default they are beside OUT until it is complete.
    """

    def rules(self) -> Rules:
        return Rules(
            self.first,
            self.last,
            self.number,
            self.sample,
            self.seed,
            self.relative,
            self.absolute,
        )


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.mine") -> None:
    args = sys.argv[1:] if args is None else args
    with report_errors(program):
        _run(parse(Options, args, program))


def _run(options: Options) -> None:
    began = time.perf_counter()
    check_machine()
    job = MiningJob.load(options.store, options.out, options.pool, options.rules())
    _, ranks = start(hang_minutes=HANG_MINUTES)

    def log(message: str) -> None:
        if ranks.is_first:
            print(printable(message, lines=True), file=sys.stderr, flush=True)

    embedder = load_model(options.model, ranks.device, options)
    rescorer = None
    if options.rescore is not None:
        rescorer = Rescorer(options.rescore, ranks.device, options.trust_remote_code)
    with progress_bar.shown(ranks.is_first):
        findings = job.execute(embedder, rescorer, options.search, options.cache, ranks, log)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log(f"{time.perf_counter() - began:,.1f} s, peak memory {bytes_of(peak)}")
    if ranks.is_first:
        _print(findings, options.out)
    exit_process()


def _print(findings: Findings, out: Path) -> None:
    columns = (Column(name, justify="right") for name in COLUMNS[1:])
    table = Table(COLUMNS[0], *columns, box=box.SIMPLE_HEAD, collapse_padding=True)
    for row in rows(findings.figures):
        table.add_row(*map(cell, row))
    console = Console()
    console.print(table)
    console.print(LEGEND)
    figures = findings.figures["all"]
    print(
        printable(
            f"{out}: {figures['negatives']:,} negatives of {figures['queries']:,} queries; "
            f"examples are in {out / REPORT}. Train with --data.train {out} "
            f"--batching.hard_negatives {findings.figures['number']}"
        )
    )


if __name__ == "__main__":
    main()
