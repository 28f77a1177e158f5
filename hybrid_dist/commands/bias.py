"""`hybrid-dist bias`: how much a retriever favours the language of the query."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.config.embedding import EmbeddingOptions
from hybrid_dist.config.task_collections import expanded
from hybrid_dist.config.task_names import label_of
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.evaluation.cuts import parse_dims
from hybrid_dist.evaluation.debiasing import NONE, Debiasing
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options(EmbeddingOptions):
    """Measure the language bias of any retriever, and what it would lose without training.

    A short form of evaluate and compare: the model is evaluated as it is and with languages removed
    from its vectors; texts are embedded once. Give --model or --embeddings.

    Example: hybrid-dist bias --model runs/hybrid --task xquad_r:data/xquad-r --out results/bias
    """

    model: str | None = None
    """A run folder, a checkpoint, a saved model, or a name or folder that transformers loads."""
    embeddings: Path | None = None
    """A folder of vectors, of any model or API: queries.npy, corpus.npy, query_ids.txt,
    corpus_ids.txt."""
    task: str
    """The task, NAME:PATH, or a collection of tasks, FILE.yaml; docs/evaluation.md lists tasks."""
    out: Path
    """Folder of the comparison and of a report for each method."""
    debias: tuple[str, ...] = ("mean", "directions")
    """What to try beside the model as it is: mean, directions or directions:K."""
    dims: Annotated[str, tyro.conf.arg(metavar="D,D,...")] = ""
    """Also measure vectors that are cut to their first D values and normalised again, as in
    64,128,256, as they are and with each method."""
    overwrite: Flag = False
    """Replace reports of other evaluations in OUT."""

    def __post_init__(self) -> None:
        dims = parse_dims(self.dims)
        for text in self.debias:
            debiasing = Debiasing.parse(text)
            if debiasing is not None and dims:
                debiasing.check(dims[0])
        if len({*self.debias, NONE}) <= len(self.debias):
            raise UserError("--debias: name each method once, and leave none out: it comes first")


def main(args: Sequence[str], program: str = "hybrid-dist bias") -> None:
    with report_errors(program):
        _run(parse(Options, args, program))


def _run(options: Options) -> None:
    from rich.console import Console

    from hybrid_dist.reporting import comparison_pages
    from hybrid_dist.reporting.bias_summary import sentences
    from hybrid_dist.reporting.comparison import compare
    from hybrid_dist.reporting.evaluation_job import EvaluationJob, EvaluationOptions
    from hybrid_dist.reporting.task_summary import summarize_tasks
    from hybrid_dist.runtime import progress_bar
    from hybrid_dist.runtime.launch import start

    warned = set[str]()

    def log(message: str) -> None:
        if ": warning: " in message:  # each method evaluates the same texts
            if message in warned:
                return
            warned.add(message)
        print(printable(message, lines=True), file=sys.stderr, flush=True)

    _, ranks = start()
    folders = []
    for method in (NONE, *options.debias):
        folder = options.out / ("as-is" if method == NONE else method.replace(":", "-"))
        folders.append(folder)
        job = EvaluationOptions(
            model=options.model,
            embeddings=options.embeddings,
            task=(options.task,),
            out=folder,
            debias=method,
            dims=options.dims,
            query_prefix=options.query_prefix,
            passage_prefix=options.passage_prefix,
            precision=options.precision,
            overwrite=options.overwrite,
            trust_remote_code=options.trust_remote_code,
            cache=options.out / "vectors" if options.model is not None else None,
        )
        with progress_bar.shown(ranks.is_first):
            EvaluationJob.load(job).execute(ranks, log)
    names = list(map(label_of, expanded([options.task])))
    for name in names:
        comparison = compare(folders, name)
        place = options.out if len(names) == 1 else options.out / "comparisons" / name
        comparison_pages.write(comparison, place)
        for table in comparison.tables():
            Console().print(table)
        for line in sentences(comparison):
            print(line)
        print(printable(f"The report: {place / 'report.html'}"))
    if len(names) > 1:
        summary = summarize_tasks(folders, names)
        summary.write(options.out)
        for table in summary.tables():
            Console().print(table)
