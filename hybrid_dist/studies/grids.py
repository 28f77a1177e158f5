"""The grid that a study file describes, and what is refused in it before any data is read."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hybrid_dist.config.schema import Config, flatten
from hybrid_dist.errors import UserError, nearest, short, short_list
from hybrid_dist.studies.cells import OF_TRAINING, RECIPE, Cell, Grid, matches
from hybrid_dist.studies.recipes import Recipe, recipe_of
from hybrid_dist.studies.study_file import PLACEHOLDER, Plot, StudyFile, Trend, Values

OURS = ("seed", "run.", "log.group", "log.tags", "eval.tasks")
"""Keys that the study itself sets."""
UNTRAINED = "untrained"


def grid(study: StudyFile, file: Path, out: Path | None = None) -> Grid:
    """The grid of a study; a UserError says what is wrong with its axes, cells or baseline."""
    path = Path(study.base)
    base_file = path if path.is_absolute() else file.parent / path
    _check_keys(study, file)
    settings = list(_settings(study))
    cells = [_cell(study, file, base_file, name, values, of) for name, of, values in settings]
    if not cells:
        raise UserError(f"{file}: no cell: give axes, or cells")
    if study.untrained:
        cells += _untrained(cells)
    _check_distinct(cells, file)
    _check_baseline(study, cells, file)
    folder = Path("runs/studies") / study.name if out is None else out
    made = Grid(study, file, folder, cells[0].config, tuple(cells))
    _check_tasks(made)
    for view in views(study):
        _check_view(view, made)
    return made


def views(study: StudyFile) -> list[Plot | Trend]:
    """All that the report shows over a key."""
    return [*study.plots, *study.trends]


def _settings(study: StudyFile) -> Iterator[tuple[str, dict[str, str], Values]]:
    """Name, labels and values of every cell of the file."""
    if study.axes:
        axes = [
            [(axis, label, values) for label, values in _axis(axis, given)]
            for axis, given in study.axes.items()
        ]
        for combination in itertools.product(*axes):
            labels = {axis: label for axis, label, _ in combination}
            values = {key: value for _, _, some in combination for key, value in some.items()}
            yield ",".join(labels.values()), labels, values
    for name, values in study.cells.items():
        yield name, {}, values


def _axis(name: str, given: list[Any] | dict[str, Values]) -> list[tuple[str, Values]]:
    """The values of an axis, each with its label."""
    if isinstance(given, dict):
        return list(given.items())
    last = name.rpartition(".")[2]
    return [(f"{last}={_label(value)}", {name: value}) for value in given]


def _label(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_label, value))
    if isinstance(value, dict):
        return "+".join(f"{key}={_label(inner)}" for key, inner in value.items())
    return re.sub(r"[^\w.=+-]", "_", str(value).rstrip("/").rpartition("/")[2])


def _check_keys(study: StudyFile, file: Path) -> None:
    """Refuse keys that neither a config nor a recipe has, wherever the file names one."""
    for name, axis in study.axes.items():
        if isinstance(axis, list):
            _check_key(name, f"{file}: axes", "is no config key")
            continue
        for label, values in axis.items():
            if not re.fullmatch(r"[\w.=+-]+", label):
                raise UserError(
                    f"{file}: axes.{name}: {short(label)} is no name: use letters, digits and . _ "
                    "- = +"
                )
            for key in values:
                _check_key(key, f"{file}: axes.{name}.{label}", "is no config key")
    for where, values in {"overrides": study.overrides, **study.cells}.items():
        for key in values:
            _check_key(key, f"{file}: {where}", "is no config key")
    for view in views(study):
        for key in (view.x, *view.only):
            if key:
                _check_key(key, f"{file}: plots and trends", "is no config key")
        for name in view.by:
            if name not in study.axes:
                raise UserError(f"{file}: {name!r} is no axis{nearest(name, study.axes)}")


def _check_key(key: str, where: str, problem: str) -> None:
    flat = flatten(Config())
    known = {*flat, *(RECIPE + name for name in Recipe.model_fields)}
    known |= {name.rpartition(".")[0] for name in flat} - {""}
    weighted = key.startswith("batching.language_weights.")
    if key not in known and not weighted:
        raise UserError(f"{where}: {key} {problem}{nearest(key, sorted(known))}")
    if key.startswith(OURS):
        raise UserError(f"{where}: {key} is set by the study itself; use `seeds` and `tasks`")


def _cell(
    study: StudyFile,
    file: Path,
    base: Path,
    name: str,
    values: Values,
    labels: Mapping[str, str],
) -> Cell:
    """A cell with its validated config and recipe."""
    where = f"{file}: cell {name}"
    merged = study.overrides | values
    of_config = {key: value for key, value in merged.items() if not key.startswith(RECIPE)}
    of_recipe = {
        key.removeprefix(RECIPE): value
        for key, value in merged.items()
        if key.startswith(RECIPE) and value is not None
    }
    recipe = recipe_of(of_recipe, where)
    if recipe is not None and recipe.sources:
        of_config["data.train"] = list(recipe.sources)
    try:
        config = Config.load(base, **of_config)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Cell(name, config, dict(values), labels, recipe)


def _untrained(cells: Sequence[Cell]) -> list[Cell]:
    """A cell for every model that the study starts from, as it is before training."""
    models: dict[str, Cell] = {}
    for cell in cells:
        values = asdict(cell.config.model)
        model = {key: value for key, value in values.items() if f"model.{key}" not in OF_TRAINING}
        models.setdefault(str(model), cell)
    if len(models) == 1:
        return [_before_training(next(iter(models.values())), UNTRAINED)]
    return [
        _before_training(cell, f"{UNTRAINED}-{_label(cell.config.model.name_or_path)}")
        for cell in models.values()
    ]


def _before_training(cell: Cell, name: str) -> Cell:
    return Cell(name, cell.config, recipe=None, is_untrained=True)


def _check_distinct(cells: Sequence[Cell], file: Path) -> None:
    by_name: dict[str, Cell] = {}
    by_identity: dict[str, str] = {}
    for cell in cells:
        if cell.name in by_name:
            raise UserError(f"{file}: two cells have the name {cell.name}")
        by_name[cell.name] = cell
        same = by_identity.setdefault(repr(cell.identity()), cell.name)
        if same != cell.name:
            raise UserError(
                f"{file}: the cells {same} and {cell.name} have the same config; remove one"
            )


def _check_baseline(study: StudyFile, cells: Sequence[Cell], file: Path) -> None:
    names = [cell.name for cell in cells]
    if isinstance(study.baseline, str):
        if study.baseline not in names:
            raise UserError(
                f"{file}: baseline: {study.baseline!r} is no cell{nearest(study.baseline, names)} "
                f"(cells: {short_list(names)})"
            )
        return
    for axis, label in study.baseline.items():
        if axis not in study.axes:
            raise UserError(f"{file}: baseline: {axis!r} is no axis{nearest(axis, study.axes)}")
        labels = [name for name, _ in _axis(axis, study.axes[axis])]
        if label not in labels:
            raise UserError(
                f"{file}: baseline: {axis} has no {label!r}{nearest(label, labels)} "
                f"(its values: {', '.join(labels)})"
            )


def _check_tasks(made: Grid) -> None:
    held_out = [
        cell.name
        for cell in made.cells
        if not cell.is_untrained and (cell.recipe is None or not cell.recipe.held_out_uids)
    ]
    for label, entry in made.study.tasks.items():
        if PLACEHOLDER in entry.task and held_out:
            raise UserError(
                f"{made.file}: tasks.{label}: {entry.task} needs recipe.held_out_uids in all "
                f"cells, and {short_list(held_out)} set no pairs aside"
            )
        for seed in entry.seeds or ():
            if seed not in made.study.seeds:
                raise UserError(f"{made.file}: tasks.{label}: seed {seed} is not among the seeds")


def _check_view(view: Plot | Trend, made: Grid) -> None:
    """Refuse a plot or a trend without cells, or over values that are no numbers."""
    shown = [cell for cell in made.cells if matches(cell, view.only)]
    if not shown:
        raise UserError(f"{made.file}: no cell has the values {short(view.only)}")
    if isinstance(view, Plot) and view.task and view.task not in made.study.tasks:
        raise UserError(
            f"{made.file}: plots: {view.task!r} is no task{nearest(view.task, made.study.tasks)}"
        )
    if isinstance(view, Plot) and view.kind != "line":
        return
    if not view.x:
        raise UserError(f"{made.file}: a line plot needs x, the key on its horizontal axis")
    for cell in shown:
        if not cell.is_untrained and not isinstance(cell.value(view.x), int | float):
            raise UserError(
                f"{made.file}: {view.x} is {short(cell.value(view.x))} in {cell.name}, no number"
            )
