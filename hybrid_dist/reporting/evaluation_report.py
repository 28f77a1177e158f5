"""Evaluate a task: `evaluate` for arrays in memory, `evaluate_*` for reports on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid_dist.evaluation.bias import TOP
from hybrid_dist.evaluation.embedded_task import EmbeddedTask
from hybrid_dist.evaluation.evaluator import (
    Scored,
    ScoringOptions,
    check_run_is_possible,
    score_run,
    score_vectors,
)
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.task_vectors import Embedder, Vectors
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.trec import Run, write_run
from hybrid_dist.reporting.mteb_results import write_results
from hybrid_dist.reporting.page import write_report
from hybrid_dist.reporting.report import build_report
from hybrid_dist.reporting.report_folder import RUN
from hybrid_dist.reporting.tables import headline
from hybrid_dist.runtime.ranks import Ranks

WriteRun = Callable[[Path, str], None]


@dataclass(frozen=True)
class ReportOptions:
    """Optional contents of a report."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the model, listed with the evaluator's own."""
    groups: LanguageGroups = field(default_factory=LanguageGroups)
    save_run: int = 0
    """Write the top passages of every query, this many, to a TREC run; 0: no run."""
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    """How vectors are scored and searched."""
    made_from: Mapping[str, Any] = field(default_factory=dict)
    """Identifies the evaluation, so that the same evaluation may replace its report."""
    mteb_results: Path | None = None
    """Also write the scores of subsets into this folder, in the format of MTEB's results."""


def evaluate_task(
    task: Task,
    embedder: Embedder,
    ranks: Ranks,
    out: Path,
    log: Callable[[str], None] | None = None,
    report_options: ReportOptions | None = None,
) -> dict[str, Any]:
    """Embed and score a task, and write its report into `out`; returns its content on all ranks."""
    return evaluate_vectors(
        task, EmbeddedTask(task, embedder, ranks), ranks, out, log, report_options
    )


def evaluate_vectors(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    out: Path,
    log: Callable[[str], None] | None = None,
    report_options: ReportOptions | None = None,
) -> dict[str, Any]:
    """Like `evaluate_task`, for precomputed vectors."""
    report_options = report_options or ReportOptions()
    check_run_is_possible(task, report_options.save_run)
    log = _on_first_only(log, ranks)
    depth = max(TOP, min(report_options.save_run, len(task.passage_ids)))
    scored = score_vectors(task, vectors, ranks, log, depth, report_options.scoring)
    return _report(scored, report_options, ranks, out, log)


def evaluate_run(
    task: Task,
    run: Run,
    ranks: Ranks,
    out: Path,
    log: Callable[[str], None] | None = None,
    report_options: ReportOptions | None = None,
) -> dict[str, Any]:
    """Like `evaluate_task`, for a TREC run; passages that it does not list have no rank."""
    log = _on_first_only(log, ranks)
    return _report(score_run(task, run, log), report_options or ReportOptions(), ranks, out, log)


def _report(
    scored: Scored,
    report_options: ReportOptions,
    ranks: Ranks,
    out: Path,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Write the report on the first rank; returns its content on all."""
    task = scored.task
    omissions = report_options.groups.omissions(task)
    for what, names in omissions.items():
        log(f"{task.name}: {what}: {names}")

    def write() -> dict[str, Any]:
        report = build_report(
            task,
            scored.name,
            scored.ranking,
            scored.top.first(TOP),
            {**scored.settings, **report_options.settings, **omissions},
            scored.timing,
            report_options.groups.within(task),
            report_options.made_from,
            {dim: (found.ranking, found.top.first(TOP)) for dim, found in scored.cuts.items()},
        )
        write_report(out, report, _run_writer(scored, report_options.save_run))
        log(f"{task.name}: {headline(report.content)}")
        for dim, figures in report.content.get("dims", {}).items():
            log(f"{task.name}: {dim} dimensions: {headline(figures)}")
        if report_options.save_run:
            log(f"{task.name}: run in {out / RUN}")
        log(f"{task.name}: report in {out}")
        if report_options.mteb_results is not None:
            seconds = [lap for name, lap in scored.timing.items() if name.endswith("_s")]
            made = report.id, report_options.made_from
            file = write_results(
                report_options.mteb_results, task, scored.ranking, sum(seconds), *made
            )
            log(f"{task.name}: scores of its subsets in {file}")
        return report.content

    return ranks.decide_on_first(write)


def _run_writer(scored: Scored, depth: int) -> WriteRun | None:
    """A function that writes the top passages as a TREC run, tagged with the report's id."""
    if not depth:
        return None
    listed = scored.top.first(depth)
    return lambda file, report: write_run(file, scored.task, listed, f"{scored.name} {report}")


def _on_first_only(log: Callable[[str], None] | None, ranks: Ranks) -> Callable[[str], None]:
    return log if log is not None and ranks.is_first else lambda message: None
