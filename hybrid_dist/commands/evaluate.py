"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same words and runs one process.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.evaluation.cache import Cached
from hybrid_dist.evaluation.evaluator import check_run_is_possible
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.search import EXACT
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.trec import read_run
from hybrid_dist.evaluation.vectors import GivenVectors
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.repository import naming_flag
from hybrid_dist.reporting import replacing
from hybrid_dist.reporting.evaluation_report import (
    ReportOptions,
    evaluate_run,
    evaluate_task,
    evaluate_vectors,
)
from hybrid_dist.reporting.report_files import RUN
from hybrid_dist.reporting.run_evaluation import load_tasks
from hybrid_dist.runtime.launch import start
from hybrid_dist.runtime.ranks import Ranks, exit_process
from hybrid_dist.text import printable
from hybrid_dist.training.checkpoint import load as checkpoint_loading
from hybrid_dist.training.run_folder import trained_languages


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
    """A folder of vectors made elsewhere: queries.npy, corpus.npy, query_ids.txt, corpus_ids.txt.
    Their scores are inner products."""
    run: Path | None = None
    """A TREC run made elsewhere; what it does not list has no rank."""
    task: tuple[str, ...]
    """Tasks, each NAME:PATH, or NAME:PATH?option=value; docs/evaluation.md lists them."""
    out: Path
    """Reports go to OUT/NAME/report.json, .md and .html. A report of another model or of other
    options is not replaced; repeating the same evaluation replaces its own report."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace reports in OUT even if they belong to other evaluations."""
    groups: tuple[str, ...] = ()
    """Groups of query languages to tell of, each NAME=LANGUAGE,LANGUAGE. `seen` and `unseen`
    come by themselves with the model of a run folder."""
    cache: Path | None = None
    """Keep the vectors of --model here: what was embedded once is not embedded again, also when it
    was stopped in between. On a disk that all nodes see; N texts take 4 x N x dimension bytes."""
    index: str = EXACT
    """What finds the first passages of every query: a factory string of FAISS, as IVF1024,Flat,
    for corpora that are slow to search. Ranks, and what is made of them, are exact with any."""
    shards: Literal["fp32", "fp16"] = "fp32"
    """How passages are kept: in fp16 they take half the memory, and scores are those of the rounded
    vectors."""
    ties: Literal["number", "trec_eval"] = "number"
    """Equal scores: the smaller passage number first, or trec_eval's order, the larger id first."""
    trust_remote_code: bool = False
    """Run the Python code that comes with --model; without this option a model that needs such code
    is refused. The code can do anything that you can do: read it first."""
    save_run: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """Also write OUT/NAME/run.trec with the first K passages of every query; 0: none."""

    def __post_init__(self) -> None:
        given = [name for name in SUBJECTS if getattr(self, name) is not None]
        if len(given) != 1:
            told = " and ".join(f"--{name}" for name in given) or "none"
            raise UserError(f"give one of --model, --embeddings and --run; {told} was given")
        if given != ["model"] and len(self.task) > 1:
            raise UserError(
                f"--{given[0]}: holds what belongs to one task, but --task names {len(self.task)}; "
                "evaluate them in turn"
            )
        if self.cache is not None and self.model is None:
            raise UserError(f"--cache: --{given[0]} has nothing to embed; leave --cache out")
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
                f"--save-run: {self.save_run} of --run {self.run}; a run is there already"
                if self.run
                else f"--save-run: {self.save_run} is no number of passages; give 1 or more"
            )


SUBJECTS = ("model", "embeddings", "run")
"""What can be scored."""


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.evaluate") -> None:
    args = sys.argv[1:] if args is None else args
    first = int(os.environ.get("RANK", "0")) == 0
    with report_errors(program):
        if sum(arg.split("=")[0] == "--task" for arg in args) > 1:
            raise UserError("--task: given twice; name all tasks after one, as in --task A:x B:y")
        run(tyro.cli(Options, args=args, prog=program, console_outputs=first))


def run(options: Options) -> None:
    tasks = load_tasks(options.task, options.ties)
    trained = None
    if options.model is not None:
        trained = trained_languages(checkpoint_loading.run_of(Path(options.model)))
    groups = LanguageGroups.of(options.groups, tasks, trained)
    for task in tasks:
        check_run_is_possible(task, options.save_run)
    _, ranks = start()

    def say(message: str) -> None:
        if ranks.is_first:
            print(printable(message, lines=True), file=sys.stderr, flush=True)

    half = options.shards == "fp16"
    report_options = ReportOptions({}, groups, options.save_run, options.index, half)
    if options.model is not None:
        embedder = load_model(options.model, ranks.device, options.trust_remote_code)
        made_from = check_places(options, tasks, ranks, embedder)
        for task, made in zip(tasks, made_from, strict=True):
            out = options.out / task.name
            report_options = replace(report_options, settings=embedder.settings, made_from=made)
            if options.cache is None:
                evaluate_task(task, embedder, ranks, out, say, report_options)
            else:
                vectors = Cached(task, embedder, options.cache, ranks, say)
                evaluate_vectors(task, vectors, ranks, out, say, report_options)
    elif options.embeddings is not None:
        given = GivenVectors(options.embeddings, tasks[0])
        (made,) = check_places(options, tasks, ranks)
        report_options = replace(report_options, settings=given.settings, made_from=made)
        evaluate_vectors(tasks[0], given, ranks, options.out / tasks[0].name, say, report_options)
    elif options.run is not None:
        listed = read_run(options.run, tasks[0])
        (made,) = check_places(options, tasks, ranks)
        report_options = ReportOptions(groups=groups, made_from=made)
        evaluate_run(tasks[0], listed, ranks, options.out / tasks[0].name, say, report_options)
    exit_process()


def check_places(
    options: Options, tasks: Sequence[Task], ranks: Ranks, embedder: TextEmbedder | None = None
) -> list[Mapping[str, Any]]:
    """Refuse to replace reports of other evaluations before hours of work are spent.

    Returns what each task's report is made from, as seen by the first rank.
    """

    def check() -> list[Mapping[str, Any]]:
        subject = _subject(options, embedder)
        made_from: list[Mapping[str, Any]] = []
        for task in tasks:
            out = options.out / task.name
            if options.run is not None and options.run.resolve() == (out / RUN).resolve():
                raise UserError(
                    f"--run: {options.run} belongs to the report that would be replaced; choose "
                    "another --out"
                )
            made = {**subject, **replacing.of_task(task), **_ways(options)}
            replacing.check_place(out, None if options.overwrite else made)
            made_from.append(made)
        return made_from

    return ranks.decide_on_first(check)


def _subject(options: Options, embedder: TextEmbedder | None) -> dict[str, Any]:
    """Identifies the scored model, vectors or run independently of how its path is written."""
    if embedder is not None and options.model is not None:
        path = Path(options.model)
        name = str(path.resolve()) if path.exists() else options.model
        return {"model": name, "its weights and settings": embedder.fingerprint[:16]}
    given = options.embeddings if options.run is None else options.run
    return {} if given is None else replacing.of_path(given)


def _ways(options: Options) -> dict[str, Any]:
    """The options that change the content of a report."""
    return {
        "groups": list(options.groups),
        "index": options.index,
        "shards": options.shards,
        "ties": options.ties,
        "save-run": options.save_run,
    }


def load_model(name: str, device: torch.device, trust_remote_code: bool = False) -> TextEmbedder:
    with naming_flag("--model"):
        if checkpoint_loading.is_checkpoint(Path(name)):
            return checkpoint_loading.load(Path(name), device, trust_remote_code)
        return TextEmbedder.load(name, device, trust_remote_code)


if __name__ == "__main__":
    main()
