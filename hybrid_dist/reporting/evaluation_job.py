"""An evaluation job: a model, precomputed vectors or a TREC run, scored on tasks, with reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.cache import CachedVectors
from hybrid_dist.evaluation.evaluator import check_run_is_possible
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.search import EXACT
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.trec import read_run
from hybrid_dist.evaluation.vectors import PrecomputedVectors
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
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint import load as checkpoint_loading
from hybrid_dist.training.run_folder import trained_languages

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is scored: exactly one of a model, a folder of vectors and a TREC run."""

    model: str | None = None
    embeddings: Path | None = None
    run: Path | None = None
    cache: Path | None = None
    """A folder that keeps the vectors of the model."""
    trust_remote_code: bool = False

    def identity(self, embedder: TextEmbedder | None) -> dict[str, Any]:
        """Identifies the subject independently of how its path is written."""
        if embedder is not None and self.model is not None:
            path = Path(self.model)
            name = str(path.resolve()) if path.exists() else self.model
            return {"model": name, "its weights and settings": embedder.fingerprint[:16]}
        path_given = self.embeddings if self.run is None else self.run
        return {} if path_given is None else replacing.of_path(path_given)


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """A subject, the tasks to score it on, and how. `load` makes one; `execute` runs it."""

    subject: Subject
    tasks: tuple[Task, ...]
    groups: LanguageGroups
    group_specs: tuple[str, ...]
    out: Path
    overwrite: bool
    index: str
    shards: str
    ties: str
    save_run: int

    @classmethod
    def load(
        cls,
        subject: Subject,
        task_specs: Sequence[str],
        out: Path,
        *,
        groups: Sequence[str] = (),
        overwrite: bool = False,
        index: str = EXACT,
        shards: str = "fp32",
        ties: str = "number",
        save_run: int = 0,
    ) -> "EvaluationJob":
        """Load the tasks, and refuse what cannot be evaluated before processes start."""
        tasks = load_tasks(task_specs, ties)
        trained = None
        if subject.model is not None:
            trained = trained_languages(checkpoint_loading.run_of(Path(subject.model)))
        language_groups = LanguageGroups.of(groups, tasks, trained)
        for task in tasks:
            check_run_is_possible(task, save_run)
        return cls(
            subject=subject,
            tasks=tasks,
            groups=language_groups,
            group_specs=tuple(groups),
            out=out,
            overwrite=overwrite,
            index=index,
            shards=shards,
            ties=ties,
            save_run=save_run,
        )

    def execute(self, ranks: Ranks, log: Log) -> None:
        """Score the subject on every task and write a report for each to OUT/TASK."""
        if self.subject.model is not None:
            self._evaluate_model(self.subject.model, ranks, log)
        elif self.subject.embeddings is not None:
            task = self.tasks[0]
            vectors = PrecomputedVectors(self.subject.embeddings, task)
            (made_from,) = self._check_places(ranks)
            options = self._report_options(settings=vectors.settings, made_from=made_from)
            evaluate_vectors(task, vectors, ranks, self.out / task.name, log, options)
        elif self.subject.run is not None:
            task = self.tasks[0]
            run = read_run(self.subject.run, task)
            (made_from,) = self._check_places(ranks)
            options = ReportOptions(groups=self.groups, made_from=made_from)
            evaluate_run(task, run, ranks, self.out / task.name, log, options)

    def _evaluate_model(self, name: str, ranks: Ranks, log: Log) -> None:
        embedder = load_model(name, ranks.device, self.subject.trust_remote_code)
        all_made_from = self._check_places(ranks, embedder)
        for task, made_from in zip(self.tasks, all_made_from, strict=True):
            out = self.out / task.name
            options = self._report_options(settings=embedder.settings, made_from=made_from)
            if self.subject.cache is None:
                evaluate_task(task, embedder, ranks, out, log, options)
            else:
                vectors = CachedVectors(task, embedder, self.subject.cache, ranks, log)
                evaluate_vectors(task, vectors, ranks, out, log, options)

    def _report_options(
        self, settings: Mapping[str, Any], made_from: Mapping[str, Any]
    ) -> ReportOptions:
        half = self.shards == "fp16"
        return ReportOptions(settings, self.groups, self.save_run, self.index, half, made_from)

    def _check_places(
        self, ranks: Ranks, embedder: TextEmbedder | None = None
    ) -> list[Mapping[str, Any]]:
        """Refuse to replace reports of other evaluations before hours of work are spent.

        Returns what identifies each task's evaluation, as seen by the first rank.
        """

        def check() -> list[Mapping[str, Any]]:
            identity = self.subject.identity(embedder)
            run = self.subject.run
            all_made_from: list[Mapping[str, Any]] = []
            for task in self.tasks:
                out = self.out / task.name
                if run is not None and run.resolve() == (out / RUN).resolve():
                    raise UserError(
                        f"--run: {run} belongs to the report that would be replaced; choose "
                        "another --out"
                    )
                made_from = {**identity, **replacing.of_task(task), **self._identifying_options()}
                replacing.check_place(out, None if self.overwrite else made_from)
                all_made_from.append(made_from)
            return all_made_from

        return ranks.decide_on_first(check)

    def _identifying_options(self) -> dict[str, Any]:
        """The options that change the content of a report."""
        return {
            "groups": list(self.group_specs),
            "index": self.index,
            "shards": self.shards,
            "ties": self.ties,
            "save-run": self.save_run,
        }


def load_model(name: str, device: torch.device, trust_remote_code: bool = False) -> TextEmbedder:
    """Load a model by folder, checkpoint, run folder or hub name."""
    with naming_flag("--model"):
        if checkpoint_loading.is_checkpoint(Path(name)):
            return checkpoint_loading.load(Path(name), device, trust_remote_code)
        return TextEmbedder.load(name, device, trust_remote_code)
