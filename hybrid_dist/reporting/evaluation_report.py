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
from hybrid_dist.evaluation.groups import GroupsAsked
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
class Wanted:
    """What a report tells beside the figures that every report has."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Told beside the evaluator's own."""
    groups: GroupsAsked = field(default_factory=GroupsAsked)
    save_run: int = 0
    """Also list so many passages of every question in a TREC run; 0: none."""
    index: str = EXACT
    """What finds the first passages: a factory string of FAISS. Ranks are exact with any."""
    half: bool = False
    """Keep passages in fp16; questions and scores stay fp32."""
    made_from: Mapping[str, Any] = field(default_factory=dict)
    """Identifies this evaluation, for commands that may replace its report."""


def evaluate_task(
    task: Task,
    embedder: Embedder,
    ranks: Ranks,
    out: Path,
    say: Callable[[str], None] | None = None,
    wanted: Wanted | None = None,
) -> dict[str, Any]:
    """Score the task, write the report into the folder `out`, and return it, on every rank."""
    return evaluate_vectors(task, EmbeddedTask(task, embedder), ranks, out, say, wanted)


def evaluate_vectors(
    task: Task,
    vectors: Vectors,
    ranks: Ranks,
    out: Path,
    say: Callable[[str], None] | None = None,
    wanted: Wanted | None = None,
) -> dict[str, Any]:
    """The same with vectors that there are already."""
    wanted = wanted or Wanted()
    check_run_is_possible(task, wanted.save_run)
    tell = _on_first_only(say, ranks)
    depth = max(TOP, min(wanted.save_run, len(task.passage_ids)))
    scored = score_vectors(task, vectors, ranks, tell, wanted.index, wanted.half, depth)
    return _report(scored, wanted, ranks, out, tell)


def evaluate_run(
    task: Task,
    run: Run,
    ranks: Ranks,
    out: Path,
    say: Callable[[str], None] | None = None,
    wanted: Wanted | None = None,
) -> dict[str, Any]:
    """The same for what a search has listed; passages that it did not list have no rank."""
    tell = _on_first_only(say, ranks)
    return _report(score_run(task, run, tell), wanted or Wanted(), ranks, out, tell)


def _report(
    scored: Scored, wanted: Wanted, ranks: Ranks, out: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Write the report on the first rank, and return it on all."""
    task = scored.task

    def write() -> dict[str, Any]:
        report = build_report(
            task,
            scored.name,
            scored.ranking,
            scored.top.first(TOP),
            {**scored.settings, **wanted.settings},
            scored.timing,
            wanted.groups.within(task),
            wanted.made_from,
        )
        write_report(out, report, _run_writer(scored, wanted.save_run))
        tell(f"{task.name}: {headline(report.found)}")
        if wanted.save_run:
            tell(f"{task.name}: run in {out / RUN}")
        tell(f"{task.name}: report in {out}")
        return report.found

    return ranks.first_decides(write)


def _run_writer(scored: Scored, depth: int) -> WriteRun | None:
    """Writes the top passages of every query as a TREC run whose tag contains the report's id."""
    if not depth:
        return None
    listed = scored.top.first(depth)
    return lambda file, report: write_run(file, scored.task, listed, f"{scored.name} {report}")


def _on_first_only(say: Callable[[str], None] | None, ranks: Ranks) -> Callable[[str], None]:
    return say if say is not None and ranks.is_first else lambda message: None
