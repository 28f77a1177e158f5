"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same options and runs one process.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.evaluation.search import EXACT
from hybrid_dist.reporting.evaluation_job import EvaluationJob, Subject
from hybrid_dist.runtime.launch import start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score a model, vectors or a run on tasks and write a report for each.

    Give one of --model, --embeddings and --run.

    Example: hybrid-dist evaluate --model runs/demo/hybrid --task toy:runs/demo/toy --out results
    """

    model: str | None = None
    """A run folder, a checkpoint in one (runs/NAME/checkpoints/step-000500), a saved model, or a
    name or folder that transformers or sentence-transformers loads."""
    embeddings: Path | None = None
    """A folder of precomputed vectors: queries.npy, corpus.npy, query_ids.txt, corpus_ids.txt.
    Scores are inner products."""
    run: Path | None = None
    """A TREC run; passages that it does not list have no rank."""
    task: tuple[str, ...]
    """Tasks, each NAME:PATH, or NAME:PATH?option=value; docs/evaluation.md lists them."""
    out: Path
    """Reports go to OUT/NAME/report.json, .md and .html. A report of another model or of other
    options is not replaced; repeating the same evaluation replaces its own report."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace reports in OUT even if they belong to other evaluations."""
    groups: tuple[str, ...] = ()
    """Groups of query languages to report, each NAME=LANGUAGE,LANGUAGE. For the model of a run
    folder `seen` and `unseen` are added."""
    cache: Path | None = None
    """Keep the vectors of --model here, so that no text is embedded twice, even after an
    interruption. On a disk that all nodes see; N texts take 4 x N x dimension bytes."""
    index: str = EXACT
    """The index that finds the top passages: a FAISS factory string such as IVF1024,Flat, for large
    corpora. Ranks, and all figures computed from them, are exact with any index."""
    shards: Literal["fp32", "fp16"] = "fp32"
    """Precision of passage vectors: fp16 takes half the memory, and scores are those of the rounded
    vectors."""
    ties: Literal["number", "trec_eval"] = "number"
    """Equal scores: the smaller passage number first, or trec_eval's order, the larger id first."""
    trust_remote_code: bool = False
    """Run the Python code that comes with --model; without this option a model that needs it is
    refused. Such code can do anything that you can: read it first."""
    save_run: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """Also write OUT/NAME/run.trec with the top K passages of every query; 0: none."""

    def __post_init__(self) -> None:
        given = [name for name in SUBJECTS if getattr(self, name) is not None]
        if len(given) != 1:
            names = " and ".join(f"--{name}" for name in given) or "none"
            raise UserError(f"give one of --model, --embeddings and --run; {names} was given")
        if given != ["model"] and len(self.task) > 1:
            raise UserError(
                f"--{given[0]}: belongs to one task, but --task names {len(self.task)}; "
                "evaluate them in turn"
            )
        if self.cache is not None and self.model is None:
            raise UserError(f"--cache: --{given[0]} has no texts to embed; leave --cache out")
        if self.trust_remote_code and self.model is None:
            raise UserError(
                f"--trust-remote-code: --{given[0]} comes without code; leave this option out"
            )
        if self.index != EXACT and self.run is not None:
            raise UserError("--index: --run is not searched; leave --index out")
        if self.shards != "fp32" and self.run is not None:
            raise UserError("--shards: --run has no vectors; leave --shards out")
        if self.save_run < 0 or (self.save_run and self.run):
            raise UserError(
                f"--save-run: {self.save_run} of --run {self.run}; it is a run already"
                if self.run
                else f"--save-run: {self.save_run} is not a number of passages; give 1 or more"
            )


SUBJECTS = ("model", "embeddings", "run")
"""The options that name what is scored."""


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.evaluate") -> None:
    args = sys.argv[1:] if args is None else args
    first = int(os.environ.get("RANK", "0")) == 0
    with report_errors(program):
        if sum(arg.split("=")[0] == "--task" for arg in args) > 1:
            raise UserError("--task: given twice; name all tasks after one, as in --task A:x B:y")
        run(tyro.cli(Options, args=args, prog=program, console_outputs=first))


def run(options: Options) -> None:
    subject = Subject(
        model=options.model,
        embeddings=options.embeddings,
        run=options.run,
        cache=options.cache,
        trust_remote_code=options.trust_remote_code,
    )
    job = EvaluationJob.load(
        subject,
        options.task,
        options.out,
        groups=options.groups,
        overwrite=options.overwrite,
        index=options.index,
        shards=options.shards,
        ties=options.ties,
        save_run=options.save_run,
    )
    _, ranks = start()

    def log(message: str) -> None:
        if ranks.is_first:
            print(printable(message, lines=True), file=sys.stderr, flush=True)

    job.execute(ranks, log)
    exit_process()


if __name__ == "__main__":
    main()
