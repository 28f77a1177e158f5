"""Evaluation during training: the tasks of a run, and the figure that selects its checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hybrid_dist.config.embedding import Precision
from hybrid_dist.config.schema import DEV_LOSS, Config, Eval
from hybrid_dist.config.task_collections import expanded, of_each
from hybrid_dist.config.task_names import check_labels
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.evaluation.contamination import check_overlap_at_start
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_task
from hybrid_dist.reporting.model_card import write_card
from hybrid_dist.reporting.report import figures
from hybrid_dist.reporting.report_folder import copy_report
from hybrid_dist.reporting.tables import headline
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.tracking.report_json import REPORT, read_report

HIGHER_IS_BETTER = {
    "map.monolingual": True,
    "map.cross_lingual": True,
    "map.multilingual": True,
    "bias.rank_distance.mean": False,
}
"""The report figures that training logs and can select checkpoints by."""


@dataclass(frozen=True)
class Evaluation:
    """The tasks of a run, loaded once, and the figure that selects its best checkpoint."""

    tasks: tuple[Task, ...]
    metric: str | None
    """TASK/figure; None where the loss on held-out pairs selects."""
    groups: LanguageGroups
    trust_remote_code: bool = False
    precision: Precision = "auto"

    @classmethod
    def of(
        cls,
        options: Eval,
        trained: Sequence[str] | None = None,
        trust_remote_code: bool = False,
        stage: str = "",
    ) -> "Evaluation":
        """`trained` are the languages that the run trains on. `stage`: see `load_tasks`."""
        tasks = load_tasks(options.tasks, stage=stage)
        groups = LanguageGroups.of(options.groups, tasks, trained)
        if options.metric == DEV_LOSS:
            return cls(tasks, None, groups, trust_remote_code, options.precision)
        name, slash, figure = options.metric.rpartition("/")
        if figure not in HIGHER_IS_BETTER:
            known = ", ".join(HIGHER_IS_BETTER)
            raise UserError(
                f"eval.metric: unknown figure {figure!r}{nearest(figure, HIGHER_IS_BETTER)} "
                f"({known})"
            )
        name = name if slash else tasks[0].name
        chosen = [task for task in tasks if task.name == name]
        if not chosen:
            raise UserError(f"eval.metric: no task of eval.tasks has the name {name!r}")
        left_out = chosen[0].left_out
        reason = next((left_out[part] for part in figure.split(".") if part in left_out), "")
        if reason:
            others = [name for name in HIGHER_IS_BETTER if not left_out.keys() & name.split(".")]
            raise UserError(
                f"eval.metric: {chosen[0].spec} has no {figure}: {reason}; "
                f"choose {', '.join(others)}"
            )
        return cls(tasks, f"{name}/{figure}", groups, trust_remote_code, options.precision)

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the selecting figure is better; False for the loss."""
        return self.metric is not None and HIGHER_IS_BETTER[self.metric.rpartition("/")[2]]

    def overlap(self, stores: Sequence[Store], sources: Sequence[str]) -> str:
        """One line on whether any evaluated text equals a training text."""
        return check_overlap_at_start(stores, self.tasks, sources)

    def __call__(
        self,
        model: Path,
        out: Path,
        ranks: Ranks,
        say: Callable[[str], None] | None = None,
        name: str | None = None,
    ) -> dict[str, float]:
        """Evaluate a saved model on all ranks and write reports to OUT/TASK.

        `name`: what the reports call the model instead of its path. Returns the figures of
        HIGHER_IS_BETTER, by TASK/figure.
        """
        embedder = TextEmbedder.load(
            model, ranks.device, self.trust_remote_code, precision=self.precision
        )
        embedder.name = name or embedder.name
        options = ReportOptions(embedder.settings, self.groups)
        results = {}
        for task in self.tasks:
            report = evaluate_task(task, embedder, ranks, out / task.name, say, options)
            for figure, value in figures(report).items():
                if figure in HIGHER_IS_BETTER and value is not None:
                    results[f"{task.name}/{figure}"] = value
        return results

    def copy_reports(self, source: Path, out: Path, say: Callable[[str], None]) -> None:
        """Copy the reports of all tasks from SOURCE/TASK to OUT/TASK."""
        for task in self.tasks:
            copy_report(source / task.name, out / task.name)
            say(f"{task.name}: {headline(read_report(out / task.name / REPORT))}")

    def describe(self, run: Path) -> None:
        """Write the card of a finished run's model."""
        write_card(run, run / "model", run / "eval")


def load_tasks(specs: Sequence[str], ties: str = "number", stage: str = "") -> tuple[Task, ...]:
    """Load the tasks of specs and of collections.

    Their labels must differ, as each names a report's folder. `stage`: a folder on this machine's
    own disk that prepared collections are copied to.
    """
    check_labels(expanded(specs), "tasks")
    return of_each(specs, lambda spec: load_task(spec, ties, stage))


def load_evaluation(config: Config, trained: Sequence[str]) -> Evaluation:
    """The evaluation that a config describes. `trained`: the languages that the run trains on."""
    if not config.eval.tasks:
        return Evaluation((), None, LanguageGroups())
    remote = config.model.trust_remote_code
    return Evaluation.of(config.eval, trained, remote, config.data.stage)
