"""Evaluate a task and write its report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid_dist.evaluation.bias import TOP
from hybrid_dist.evaluation.evaluator import (
    EmbeddedTask,
    Embedder,
    Scored,
    Vectors,
    check_run_is_possible,
    score_run,
    score_vectors,
)
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.search import EXACT
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.trec import Run, write_run
from hybrid_dist.reporting.page import write_report
from hybrid_dist.reporting.report import build_report
from hybrid_dist.reporting.report_files import RUN
from hybrid_dist.reporting.tables import headline
from hybrid_dist.runtime.ranks import Ranks

WriteRun = Callable[[Path, str], None]


@dataclass(frozen=True)
class ReportOptions:
    """What a report tells beside the figures that every report has."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Told beside the evaluator's own."""
    groups: LanguageGroups = field(default_factory=LanguageGroups)
    save_run: int = 0
    """Also list so many passages of every query in a TREC run; 0: none."""
    index: str = EXACT
    """What finds the first passages: a factory string of FAISS. Ranks are exact with any."""
    half: bool = False
    """Keep passages in fp16; queries and scores stay fp32."""
    made_from: Mapping[str, Any] = field(default_factory=dict)
    """Identifies this evaluation, for commands that may replace its report."""


def evaluate_task(
    task: Task,
    embedder: Embedder,
    ranks: Ranks,
    out: Path,
    say: Callable[[str], None] | None = None,
    report_options: ReportOptions | None = None,
) -> dict[str, Any]:
    """Score the task, write the report into the folder `out`, and return it, on every rank."""
    return evaluate_vectors(task, EmbeddedTask(task, embedder), ranks, out, say, report_options)


def evaluate_vectors(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    out: Path,
    say: Callable[[str], None] | None = None,
    report_options: ReportOptions | None = None,
) -> dict[str, Any]:
    """The same with vectors that there are already."""
    report_options = report_options or ReportOptions()
    check_run_is_possible(task, report_options.save_run)
    tell = _on_first_only(say, ranks)
    depth = max(TOP, min(report_options.save_run, len(task.passage_ids)))
    scored = score_vectors(
        task, vectors, ranks, tell, report_options.index, report_options.half, depth
    )
    return _report(scored, report_options, ranks, out, tell)


def evaluate_run(
    task: Task,
    run: Run,
    ranks: Ranks,
    out: Path,
    say: Callable[[str], None] | None = None,
    report_options: ReportOptions | None = None,
) -> dict[str, Any]:
    """The same for what a search has listed; passages that it did not list have no rank."""
    tell = _on_first_only(say, ranks)
    return _report(score_run(task, run, tell), report_options or ReportOptions(), ranks, out, tell)


def _report(
    scored: Scored,
    report_options: ReportOptions,
    ranks: Ranks,
    out: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Write the report on the first rank, and return it on all."""
    task = scored.task

    def write() -> dict[str, Any]:
        report = build_report(
            task,
            scored.name,
            scored.ranking,
            scored.top.first(TOP),
            {**scored.settings, **report_options.settings},
            scored.timing,
            report_options.groups.within(task),
            report_options.made_from,
        )
        write_report(out, report, _run_writer(scored, report_options.save_run))
        tell(f"{task.name}: {headline(report.content)}")
        if report_options.save_run:
            tell(f"{task.name}: run in {out / RUN}")
        tell(f"{task.name}: report in {out}")
        return report.content

    return ranks.decide_on_first(write)


def _run_writer(scored: Scored, depth: int) -> WriteRun | None:
    """Writes the top passages of every query as a TREC run whose tag contains the report's id."""
    if not depth:
        return None
    listed = scored.top.first(depth)
    return lambda file, report: write_run(file, scored.task, listed, f"{scored.name} {report}")


def _on_first_only(say: Callable[[str], None] | None, ranks: Ranks) -> Callable[[str], None]:
    return say if say is not None and ranks.is_first else lambda message: None
