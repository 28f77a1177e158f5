"""Evaluate a model: `accelerate launch -m hybrid_dist.evaluate --model M --task NAME:PATH`.

`hybrid-dist evaluate` takes the same words and runs one process.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from hybrid_dist.cluster.ranks import Ranks, leave
from hybrid_dist.cluster.start import start
from hybrid_dist.config import Eval
from hybrid_dist.errors import UserError, nearest, reported
from hybrid_dist.evaluation.evaluate import evaluate_task
from hybrid_dist.evaluation.report import figures
from hybrid_dist.evaluation.tasks import Task, load_task
from hybrid_dist.model.retriever import Retriever

HIGHER_IS_BETTER = {
    "map.monolingual": True,
    "map.cross_lingual": True,
    "map.multilingual": True,
    "bias.rank_distance.mean": False,
}
"""The figures of a report that training logs and can choose a checkpoint by."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score a model on tasks and write a report for each.

    Example: hybrid-dist evaluate --model runs/demo/hybrid --task toy:runs/demo/toy --out results
    """

    model: str
    """A run folder, a saved model, or a name or folder that transformers loads."""
    task: tuple[str, ...]
    """Tasks, each NAME:PATH, or NAME:PATH?option=value; docs/data.md lists them."""
    out: Path
    """Reports go to OUT/NAME/report.json, .md and .html."""


@dataclass(frozen=True)
class Evaluation:
    """The tasks of a run, read once, and the figure that chooses its best checkpoint."""

    tasks: tuple[Task, ...]
    metric: str
    """NAME/figure."""

    @classmethod
    def of(cls, options: Eval) -> "Evaluation":
        tasks = load_tasks(options.tasks)
        name, slash, wanted = options.metric.rpartition("/")
        if wanted not in HIGHER_IS_BETTER:
            known = ", ".join(HIGHER_IS_BETTER)
            raise UserError(
                f"eval.metric: unknown figure {wanted!r}{nearest(wanted, HIGHER_IS_BETTER)} "
                f"({known})"
            )
        name = name if slash else tasks[0].name
        chosen = [task for task in tasks if task.name == name]
        if not chosen:
            raise UserError(f"eval.metric: no task of eval.tasks has the name {name!r}")
        left_out = chosen[0].left_out
        why = next((left_out[part] for part in wanted.split(".") if part in left_out), "")
        if why:
            others = [name for name in HIGHER_IS_BETTER if not left_out.keys() & name.split(".")]
            raise UserError(
                f"eval.metric: {chosen[0].spec} has no {wanted}: {why}; choose {', '.join(others)}"
            )
        return cls(tasks, f"{name}/{wanted}")

    @property
    def higher_is_better(self) -> bool:
        return HIGHER_IS_BETTER[self.metric.rpartition("/")[2]]

    def __call__(
        self, model: Path, out: Path, ranks: Ranks, say: Callable[[str], None] | None = None
    ) -> dict[str, float]:
        """Score a saved model on all ranks: figures by NAME/figure, reports in OUT/NAME."""
        retriever = Retriever.load(str(model), ranks.device)
        found = {}
        for task in self.tasks:
            report = evaluate_task(task, retriever, ranks, out / task.name, say, retriever.settings)
            for name, value in figures(report).items():
                if name in HIGHER_IS_BETTER and value is not None:
                    found[f"{task.name}/{name}"] = value
        return found


def load_tasks(specs: Sequence[str]) -> tuple[Task, ...]:
    """The tasks of NAME:PATH specs; two of one name would write into one folder."""
    tasks = tuple(load_task(spec) for spec in specs)
    names = [task.name for task in tasks]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"tasks: {', '.join(sorted(twice))} is named twice; evaluate them in turn")
    return tasks


def main(args: Sequence[str] | None = None, program: str = "hybrid_dist.evaluate") -> None:
    args = sys.argv[1:] if args is None else args
    first = int(os.environ.get("RANK", "0")) == 0
    with reported(program):
        if sum(arg.split("=")[0] == "--task" for arg in args) > 1:
            raise UserError("--task: given twice; name all tasks after one, as in --task A:x B:y")
        run(tyro.cli(Options, args=args, prog=program, console_outputs=first))


def run(options: Options) -> None:
    tasks = load_tasks(options.task)
    _, ranks = start()
    retriever = Retriever.load(options.model, ranks.device)

    def say(message: str) -> None:
        if ranks.is_first:
            print(message, file=sys.stderr, flush=True)

    for task in tasks:
        out = options.out / task.name
        evaluate_task(task, retriever, ranks, out, say, retriever.settings)
    leave()


if __name__ == "__main__":
    main()
