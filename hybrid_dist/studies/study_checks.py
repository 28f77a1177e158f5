"""What is checked of a study before its first run starts, beyond its file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hybrid_dist.batching import check_world
from hybrid_dist.config.schema import STORED, Config, Model
from hybrid_dist.data.store.reader import check_sources
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.evaluation.metrics import METRICS
from hybrid_dist.evaluation.task_specs import check_task, load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.tables import SETTINGS
from hybrid_dist.studies.cells import Grid
from hybrid_dist.studies.recipes import build_recipe, check_recipe_sources
from hybrid_dist.studies.study_file import PLACEHOLDER
from hybrid_dist.studies.study_results import BIAS, WORST

BIAS_FIGURES = (
    "bias.rank_distance.mean",
    "bias.rank_distance.normalised",
    "bias.worst_rank.mean",
    "bias.complete_at_10.mean",
    "bias.complete_at_20.mean",
    "bias.complete_at_100.mean",
    "bias.first_hit_own.mean",
    "bias.self_preference.mean",
)


def check_figures(grid: Grid) -> None:
    """Refuse figures that no report has."""
    known = [f"{metric}.{setting}" for metric in METRICS for setting in SETTINGS]
    known += BIAS_FIGURES
    for figure in grid.study.figures:
        name = figure.partition("@")[0]
        if name not in known:
            raise UserError(f"{grid.file}: figures: unknown figure {name!r}{nearest(name, known)}")


def problems_of_files(grid: Grid) -> Iterator[str]:
    """What a machine lacks for a study: data, tasks, launcher; one line for each."""
    launcher, world = grid.study.launcher, grid.study.processes
    if launcher and not Path(launcher).is_file():
        yield f"launcher: no file {launcher}"
    if world and world > 1 and not launcher:
        yield f"processes: {world} processes need a launcher, such as launchers/ddp.yaml"
    seen: set[str] = set()
    for cell in grid.cells:
        problems = []
        try:
            if world and not cell.is_untrained:
                check_world(cell.config.batching.size, world)
            if cell.recipe is not None:
                if not cell.is_untrained:
                    check_pair_files_suffice(cell.config)
                check_recipe_sources(grid.recipe_sources(cell))
            elif not cell.is_untrained:
                check_sources(cell.config.data.train_paths)
        except UserError as error:
            problems.append(f"cell {cell.name}: {error}")
        yield from (line for line in problems if line.partition(": ")[2] not in seen)
        seen |= {line.partition(": ")[2] for line in problems}
    for label, entry in grid.study.tasks.items():
        if PLACEHOLDER not in entry.task:
            try:
                check_task(entry.task)
            except UserError as error:
                yield f"tasks.{label}: {error}"


def check_pair_files_suffice(config: Config) -> None:
    """Refuse what needs a prepared store where a recipe writes the pairs as JSON lines."""
    if config.needs_teacher and config.distill.teacher == STORED:
        raise UserError(
            f"distill.teacher: is {STORED}, but the pair files that a recipe writes hold no "
            "vectors; name a model, or cut the pairs before `hybrid-dist prepare --teacher`"
        )
    if config.train.chunk_tokens:
        raise UserError(
            "train.chunk_tokens: the pair files that a recipe writes hold no token ids; give "
            "train.chunk_size instead"
        )


def check_everything(grid: Grid) -> None:
    """Refuse what cannot be run, and make what the runs need: the pair files of the recipes."""
    for problem in problems_of_files(grid):
        raise UserError(f"{grid.file}: {problem}")
    check_models(grid)
    build_recipes(grid)
    check_tasks(grid)


def check_models(grid: Grid) -> None:
    """Refuse models that cannot be found, or that cannot do what the cells ask of them."""
    from hybrid_dist.training.inputs import check_uses, read_model

    configs: dict[Model, Any] = {}
    for cell in grid.cells:
        model = replace(cell.config.model, dropout=None, attention_dropout=None)
        config = cell.config
        if cell.is_untrained:
            config = replace(config, loss=replace(config.loss, dims=()))
        try:
            if model not in configs:
                configs[model], tokens = read_model(model)
                tokens.check_end()
            check_uses(config, configs[model])
        except UserError as error:
            raise UserError(f"{grid.file}: cell {cell.name}: {error}") from None


def build_recipes(grid: Grid) -> None:
    """Write the pair files of all recipes that are not there yet."""
    for cell in grid.cells:
        if cell.recipe is not None and not cell.is_untrained:
            try:
                build_recipe(cell.recipe, grid.recipe_sources(cell), grid.recipe_folder(cell))
            except UserError as error:
                raise UserError(f"{grid.file}: cell {cell.name}: {error}") from None


def check_tasks(grid: Grid) -> None:
    """Load every task once; refuse one without any of the study's figures, and such a figure."""
    run = next(run for run in grid.all_runs() if not run.cell.is_untrained)
    tasks: dict[str, Task] = {}
    for cell_run in grid.all_runs():  # a task may be for some seeds only
        for label, spec in cell_run.tasks.items():
            if label not in tasks:
                tasks[label] = load_task(spec)
    reasons: dict[str, str] = {}
    supported: set[str] = set()
    for label, task in tasks.items():
        of_task = {figure: missing_reason(task, figure, grid) for figure in grid.study.figures}
        supported |= {figure for figure, reason in of_task.items() if not reason}
        if all(of_task.values()):
            figure, reason = next(iter(of_task.items()))
            raise UserError(
                f"{grid.file}: tasks.{label}: {run.tasks.get(label, task.spec)} has none of the "
                f"study's figures; {figure}: {reason}"
            )
        reasons |= {figure: f"{label}: {reason}" for figure, reason in of_task.items() if reason}
    for figure in grid.study.figures:
        if figure not in supported:
            raise UserError(f"{grid.file}: figures: no task has {figure} ({reasons[figure]})")


def missing_reason(task: Task, figure: str, grid: Grid) -> str:
    """Why a task has no such figure; empty if it has."""
    name, _, group = figure.partition("@")
    parts = name.removeprefix(BIAS).split(".")
    if name.startswith(BIAS):
        parts = ["rank_distance", "multilingual"]
    for part in parts:
        if part in task.left_out:
            return task.left_out[part]
    if group and group != WORST:
        languages = grid.study.groups[group]
        with_queries = {task.languages[code] for code in set(task.query_language.tolist())}
        if not with_queries & set(languages):
            return f"it has no query in {', '.join(languages)}"
    return ""
