"""An evaluation job: a model, precomputed vectors or a TREC run, scored on tasks, with reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from hybrid_dist.config.command_options import Flag
from hybrid_dist.config.embedding import EmbeddingOptions
from hybrid_dist.config.task_collections import collection_of, expanded
from hybrid_dist.config.task_names import label_of
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bias import TOP
from hybrid_dist.evaluation.coarse import Coarse
from hybrid_dist.evaluation.cuts import check_cuts, parse_dims
from hybrid_dist.evaluation.debiasing import NONE, Debiasing
from hybrid_dist.evaluation.evaluator import ScoringOptions, check_run_is_possible
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.quantisation import Quantisation
from hybrid_dist.evaluation.search import EXACT, Search, check_search
from hybrid_dist.evaluation.task_checks import task_warnings
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.trec import read_run
from hybrid_dist.evaluation.vector_cache import CachedVectors
from hybrid_dist.evaluation.vectors import PrecomputedVectors
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.repository import check_name, naming_flag
from hybrid_dist.reporting import replacing
from hybrid_dist.reporting.evaluation_report import (
    ReportOptions,
    evaluate_run,
    evaluate_task,
    evaluate_vectors,
)
from hybrid_dist.reporting.mteb_results import check_results_place, results_file
from hybrid_dist.reporting.report_folder import RUN
from hybrid_dist.reporting.run_evaluation import load_tasks
from hybrid_dist.reporting.task_summary import write_summary
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint import trained_model
from hybrid_dist.training.run_folder import trained_languages

Log = Callable[[str], None]


MOST_MINUTES = 1e6
SUBJECTS = ("model", "embeddings", "run")
"""The options that name what is scored."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(EmbeddingOptions):
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
    """Tasks, each NAME:PATH, NAME:PATH?option=value, or LABEL=NAME:PATH to call it LABEL;
    docs/evaluation.md lists them. A YAML file, also as LABEL=FILE.yaml, is a benchmark of your own
    or a collection of tasks."""
    out: Path
    """Reports go to OUT/LABEL/report.json, .md and .html. A report of another model or of other
    options is not replaced; repeating the same evaluation replaces its own report."""
    overwrite: Flag = False
    """Replace reports in OUT even if they belong to other evaluations."""
    timeout_minutes: float = 20
    """Minutes for which a process may stand still, while the others wait for it, before it is named
    and all end. One that works, as when it embeds a large share, may take as long as it needs."""
    groups: tuple[str, ...] = ()
    """Groups of query languages to report: NAME=LANGUAGE,LANGUAGE, or `script`, `family` or `tier`
    for those that have one in common. For the model of a run folder `seen` and `unseen` are
    added."""
    cache: Path | None = None
    """Keep the vectors of --model here, so that no text is embedded twice, even after an
    interruption. On a disk that all nodes see; N texts take 4 x N x dimension bytes."""
    stage: str = ""
    """A folder on the own disk of each machine that prepared collections are copied to, once per
    machine, and read from."""
    index: str = EXACT
    """The index that finds the top passages: a FAISS factory string such as IVF1024,Flat, for large
    corpora. Ranks, and all figures computed from them, are exact with any index."""
    search: Search = "auto"
    """What finds the top passages: torch, from the scores that ranks are counted from (auto); or a
    search of its own by FAISS, as with --index. Exact either way."""
    coarse: Coarse = "none"
    """Compute scores from vectors rounded to 16 bits, and in fp32 only where these leave a rank
    open: fp16 for GPUs, bf16 for CPUs with instructions for it. The results are the same."""
    shards: Literal["fp32", "fp16"] = "fp32"
    """Precision of passage vectors: fp16 takes half the memory, and scores are those of the rounded
    vectors."""
    debias: Annotated[str, tyro.conf.arg(metavar="none|mean|directions[:K]")] = NONE
    """Remove languages from the vectors without training: the mean of each language's texts, or
    their first K singular vectors (1 by default). Fitted on one half of the ids of a language and
    applied to the other, for queries and for passages."""
    quantise: Annotated[str, tyro.conf.arg(metavar="none|int8[:N]|binary[:N]")] = NONE
    """Rank passages by smaller codes, as an index would store them: a byte or a bit per dimension.
    With N the best N of each pool are scored again with the whole vectors."""
    dims: Annotated[str, tyro.conf.arg(metavar="D,D,...")] = ""
    """Also report every figure by vectors that are cut to their first D values and normalised
    again, as in 64,128,256, from the same embedding pass."""
    ties: Literal["number", "trec_eval"] = "number"
    """Equal scores: the smaller passage number first, or trec_eval's order, the larger id first."""
    save_run: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """Also write OUT/LABEL/run.trec with the top K passages of every query; 0: none."""
    mteb_results: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write DIR/LABEL.json with the scores of each subset of a task, in the format of MTEB's
    results. Label tasks as MTEB names them. Needs --ties trec_eval, MTEB's order."""

    def __post_init__(self) -> None:
        given = [name for name in SUBJECTS if getattr(self, name) is not None]
        if len(given) != 1:
            names = " and ".join(f"--{name}" for name in given) or "none"
            raise UserError(f"give one of --model, --embeddings and --run; {names} was given")
        if self.run is not None and self.run.is_dir():
            raise UserError(
                f"--run: {self.run} is a folder, and a TREC run is a file; to evaluate the model "
                f"of a run folder, give --model {self.run}"
            )
        if given != ["model"] and (count := len(expanded(self.task))) > 1:
            raise UserError(
                f"--{given[0]}: belongs to one task, but --task names {count}; "
                "evaluate them in turn"
            )
        if self.cache is not None and self.model is None:
            raise UserError(f"--cache: --{given[0]} has no texts to embed; leave --cache out")
        if self.trust_remote_code and self.model is None:
            raise UserError(
                f"--trust-remote-code: --{given[0]} comes without code; leave this option out"
            )
        for flag in ("query_prefix", "passage_prefix"):
            if getattr(self, flag) is not None and self.model is None:
                raise UserError(
                    f"--{flag.replace('_', '-')}: --{given[0]} has no texts to embed; leave it out"
                )
        if self.precision != "auto" and self.model is None:
            raise UserError(f"--precision: --{given[0]} has no texts to embed; leave it out")
        if self.index != EXACT and self.run is not None:
            raise UserError("--index: --run is not searched; leave --index out")
        if self.search != "auto" and self.run is not None:
            raise UserError("--search: --run is not searched; leave --search out")
        check_search(self.search, self.index)
        if self.coarse != "none" and self.run is not None:
            raise UserError("--coarse: --run has no vectors; leave --coarse out")
        if self.shards != "fp32" and self.run is not None:
            raise UserError("--shards: --run has no vectors; leave --shards out")
        if Debiasing.parse(self.debias) is not None:
            if self.run is not None:
                raise UserError("--debias: --run has no vectors; leave --debias out")
            if self.shards != "fp32":
                raise UserError("--debias: works in fp32; leave --shards out")
        if Quantisation.parse(self.quantise) is not None:
            self._check_quantise()
        if parse_dims(self.dims):
            self._check_cuts()
        if self.mteb_results is not None and self.ties != "trec_eval":
            raise UserError(
                "--mteb-results: MTEB's order of ties is trec_eval's; give --ties trec_eval"
            )
        if not 0 < self.timeout_minutes <= MOST_MINUTES:
            raise UserError(f"--timeout-minutes: {self.timeout_minutes:g}; give a number above 0")
        if self.save_run < 0 or (self.save_run and self.run):
            raise UserError(
                f"--save-run: {self.save_run} of --run {self.run}; it is a run already"
                if self.run
                else f"--save-run: {self.save_run} is not a number of passages; give 1 or more"
            )

    def _check_cuts(self) -> None:
        if self.run is not None:
            raise UserError("--dims: --run has no vectors; leave --dims out")
        if self.shards != "fp32":
            raise UserError(
                "--dims: whole fp32 vectors are cut; leave --shards out, or store cut vectors and "
                "give them with --embeddings"
            )
        if (debiasing := Debiasing.parse(self.debias)) is not None:
            debiasing.check(parse_dims(self.dims)[0])

    def _check_quantise(self) -> None:
        if self.run is not None:
            raise UserError("--quantise: --run has no vectors; leave --quantise out")
        if self.shards != "fp32" or self.index != EXACT or self.search == "faiss":
            raise UserError(
                "--quantise: torch ranks passages decoded to fp32; leave --shards, --index and "
                "--search faiss out"
            )
        if self.coarse != "none":
            raise UserError("--quantise: codes are ranked in fp32; leave --coarse out")
        code, needed = Quantisation.parse(self.quantise), max(TOP, self.save_run)
        if code is not None and 0 < code.rescored < needed:
            raise UserError(
                f"--quantise {self.quantise}: reports list the top {needed} passages; give "
                f"{needed} or more to score again"
            )


@dataclass(frozen=True)
class EvaluationJob:
    """What to score, the tasks to score it on, and how. `load` makes one; `execute` runs it."""

    options: EvaluationOptions
    tasks: tuple[Task, ...]
    groups: LanguageGroups
    resumable: frozenset[str] = frozenset()
    """Tasks whose complete reports are left as they are: those of collections."""

    @classmethod
    def load(cls, options: EvaluationOptions) -> "EvaluationJob":
        """Load the tasks, and refuse what cannot be evaluated before processes start."""
        if options.model is not None:
            with naming_flag("--model"):
                check_name(options.model)
        tasks = load_tasks(options.task, options.ties, options.stage)
        collected = (one for spec in options.task for one in collection_of(spec))
        resumable = frozenset() if options.overwrite else frozenset(map(label_of, collected))
        trained = None
        if options.model is not None:
            trained = trained_languages(trained_model.run_of(Path(options.model)))
        groups = LanguageGroups.of(options.groups, tasks, trained)
        for task in tasks:
            check_run_is_possible(task, options.save_run)
        return cls(options, tasks, groups, resumable)

    def execute(self, ranks: Ranks, log: Log) -> None:
        """Score on every task and write a report for each to OUT/TASK."""
        options = self.options
        if options.model is not None:
            self._evaluate_model(options.model, ranks, log)
            if len(self.tasks) > 1 and ranks.is_first:
                write_summary(options.out, [task.name for task in self.tasks], options.model, log)
            return
        task = self.tasks[0]
        out = options.out / task.name
        if options.embeddings is not None:
            vectors = PrecomputedVectors(options.embeddings, task, ranks)
            (made_from,) = self._check_places(ranks)
            contents = self._report_options(vectors.settings, made_from)
            for line in vectors.warnings:
                log(f"{task.name}: warning: {line}")
            evaluate_vectors(task, vectors, ranks, out, log, contents)
        elif options.run is not None:
            run = read_run(options.run, task)
            (made_from,) = self._check_places(ranks)
            contents = ReportOptions(
                groups=self.groups, made_from=made_from, mteb_results=options.mteb_results
            )
            evaluate_run(task, run, ranks, out, log, contents)

    def _evaluate_model(self, name: str, ranks: Ranks, log: Log) -> None:
        options = self.options
        embedder = load_model(name, ranks.device, options)
        check_cuts(parse_dims(options.dims), embedder.width)  # before anything is embedded
        all_made_from = self._check_places(ranks, embedder)
        finished = ranks.decide_on_first(lambda: self._finished(all_made_from))
        for task, made_from in zip(self.tasks, all_made_from, strict=True):
            out = self.options.out / task.name
            if task.name in finished:
                log(f"{task.name}: its report is complete; --overwrite evaluates again")
                continue
            contents = self._report_options(embedder.settings, made_from)
            if ranks.is_first:
                for line in task_warnings(task, embedder.tokens, self.groups.trained):
                    log(f"{task.name}: warning: {line}")
            if self.options.cache is None:
                evaluate_task(task, embedder, ranks, out, log, contents)
            else:
                vectors = CachedVectors(task, embedder, self.options.cache, ranks, log)
                evaluate_vectors(task, vectors, ranks, out, log, contents)

    def _finished(self, all_made_from: Sequence[Mapping[str, Any]]) -> list[str]:
        """The tasks of collections that an earlier start of this evaluation has finished."""
        results = self.options.mteb_results
        return [
            task.name
            for task, made_from in zip(self.tasks, all_made_from, strict=True)
            if task.name in self.resumable
            and replacing.is_complete(self.options.out / task.name, made_from)
            and (results is None or results_file(results, task).is_file())
        ]

    def _report_options(
        self, settings: Mapping[str, Any], made_from: Mapping[str, Any]
    ) -> ReportOptions:
        options = self.options
        scoring = ScoringOptions(
            options.index,
            options.search,
            options.shards == "fp16",
            Debiasing.parse(options.debias),
            Quantisation.parse(options.quantise),
            parse_dims(options.dims),
            options.coarse,
        )
        return ReportOptions(
            settings, self.groups, options.save_run, scoring, made_from, options.mteb_results
        )

    def _check_places(
        self, ranks: Ranks, embedder: TextEmbedder | None = None
    ) -> list[Mapping[str, Any]]:
        """Refuse to replace reports of other evaluations before hours of work are spent.

        Returns what identifies each task's evaluation, as seen by the first rank.
        """

        def check() -> list[Mapping[str, Any]]:
            identity = self._identity(embedder)
            run = self.options.run
            all_made_from: list[Mapping[str, Any]] = []
            for task in self.tasks:
                out = self.options.out / task.name
                if run is not None and run.resolve() == (out / RUN).resolve():
                    raise UserError(
                        f"--run: {run} belongs to the report that would be replaced; choose "
                        "another --out"
                    )
                made_from = {**identity, **replacing.of_task(task), **self._identifying_options()}
                replaceable = None if self.options.overwrite else made_from
                replacing.check_place(out, replaceable)
                if self.options.mteb_results is not None:
                    check_results_place(self.options.mteb_results, task, replaceable)
                all_made_from.append(made_from)
            return all_made_from

        return ranks.decide_on_first(check)

    def _identity(self, embedder: TextEmbedder | None) -> dict[str, Any]:
        """Identifies what is scored, independently of how its path is written."""
        model = self.options.model
        if embedder is not None and model is not None:
            path = Path(model)
            name = str(path.resolve()) if path.exists() else model
            return {"model": name, "its weights and settings": embedder.fingerprint[:16]}
        scored = self.options.embeddings if self.options.run is None else self.options.run
        return {} if scored is None else replacing.of_path(scored)

    def _identifying_options(self) -> dict[str, Any]:
        """The options that change the content of a report."""
        return {
            "groups": list(self.options.groups),
            "index": self.options.index,
            "shards": self.options.shards,
            "ties": self.options.ties,
            **({} if self.options.debias == NONE else {"debias": self.options.debias}),
            **({} if self.options.search == "auto" else {"search": self.options.search}),
            **({} if self.options.coarse == "none" else {"coarse": self.options.coarse}),
            **({} if self.options.quantise == NONE else {"quantise": self.options.quantise}),
            **({"dims": list(parse_dims(self.options.dims))} if self.options.dims else {}),
            "save-run": self.options.save_run,
        }


def load_model(
    name: str, device: torch.device, options: EmbeddingOptions | None = None
) -> TextEmbedder:
    """Load a model by folder, checkpoint, run folder or hub name."""
    options = options or EmbeddingOptions()
    with naming_flag("--model"):
        if not trained_model.is_checkpoint(Path(name)):
            return TextEmbedder.load(
                name,
                device,
                options.trust_remote_code,
                options.query_prefix,
                options.passage_prefix,
                options.precision,
            )
        if options.query_prefix is not None or options.passage_prefix is not None:
            raise UserError("its run's config has the prefixes; leave the options for them out")
        return trained_model.load(Path(name), device, options.trust_remote_code, options.precision)
