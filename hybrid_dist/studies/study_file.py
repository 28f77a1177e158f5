"""The study file: a base config, what varies, seeds, tasks, and what the report shows."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from hybrid_dist.config.resolve import MAX_PROBLEMS
from hybrid_dist.config.strict_yaml import read_yaml
from hybrid_dist.config.task_collections import expanded
from hybrid_dist.config.task_names import label_of
from hybrid_dist.config.values import Positive, Seed
from hybrid_dist.config.variables import substituted
from hybrid_dist.errors import UserError, nearest, short, validation_problem

SAFE_NAME = re.compile(r"[\w][\w.,=+-]*")
"""Names of studies, cells and tasks: they name folders."""
FIGURES = ("map.monolingual", "map.cross_lingual", "map.multilingual", "bias.rank_distance.mean")
PLACEHOLDER = "{recipe}"
"""In a task: the folder of the cell's training pairs and held-out pairs."""
Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]
"""A list of names, or a single one."""
Values = dict[str, Any]
"""Keys of a config, or `recipe.` and a key of a recipe, and their values."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskEntry(_Part):
    """A task, and the seeds whose runs are evaluated on it."""

    task: str
    """NAME:PATH, as `hybrid-dist evaluate --task` takes it."""
    seeds: tuple[Seed, ...] | None = None
    """Only these; None: all."""


class Plot(_Part):
    """A plot of the report, with a panel for each figure."""

    kind: Literal["line", "bars", "ternary"]
    x: str = ""
    """line: the config key on the horizontal axis."""
    by: Names = ()
    """line: the axes that have a line for each of their values; empty: one line."""
    only: Values = Field(default_factory=dict)
    """Only the cells whose config has these values."""
    task: str = ""
    """A task's name; empty: a plot for every task."""
    title: str = ""


class Trend(_Part):
    """What the report works out over a numeric key: the optimum and the slope of each figure."""

    x: str
    by: Names = ()
    """The axes whose values are looked at one by one; empty: all cells together."""
    only: Values = Field(default_factory=dict)


class Published(_Part):
    """Figures from a paper, to print beside the study's own."""

    source: str
    cells: dict[str, dict[str, dict[str, float]]]
    """Cell -> task -> figure -> value."""


def _as_entries(value: Any) -> Any:
    """Tasks by name: a list of specs is named after the specs; it may have collections."""
    if isinstance(value, list):
        if not all(isinstance(spec, str) for spec in value):
            raise ValueError("expected NAME:PATH in every line")
        specs = expanded(value)
        names = [label_of(spec) for spec in specs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is given twice: write the tasks as LABEL: NAME:PATH")
        value = dict(zip(names, specs, strict=True))
    if isinstance(value, dict):
        return {
            name: {"task": entry} if isinstance(entry, str) else entry
            for name, entry in value.items()
        }
    return value


class StudyFile(_Part):
    """A study as its file describes it; cells.py makes the grid of it."""

    name: str
    question: str = ""
    """What the study asks, for its report."""
    base: str
    """The config that all cells start from; a relative path starts at the study file's folder."""
    overrides: Values = Field(default_factory=dict)
    """Values of all cells."""
    axes: dict[str, list[Any] | dict[str, Values]] = Field(default_factory=dict)
    """What is varied; the grid is the product. A key with a list of values, or a name with the
    values of several keys by label."""
    cells: dict[str, Values] = Field(default_factory=dict)
    """Further cells, each with its values."""
    untrained: bool = False
    """Also evaluate the model before training."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    tasks: Annotated[dict[str, TaskEntry], BeforeValidator(_as_entries), Field(min_length=1)]
    """What the trained models are evaluated on, by label."""
    baseline: str | dict[str, str]
    """The cell that the others are compared with; or an axis and its label, as in
    {batches: monolingual}: each cell is then compared with the one that differs in this alone."""
    figures: Annotated[tuple[str, ...], Field(min_length=1)] = FIGURES
    """Figures of the reports; `FIGURE@GROUP` is that of a group of query languages, and
    `FIGURE@worst` that of the worst language."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Groups of query languages."""
    plots: tuple[Plot, ...] = (Plot(kind="bars"),)
    trends: tuple[Trend, ...] = ()
    published: Published | None = None
    launcher: str = ""
    """An Accelerate file for several processes a run; empty: one process, started directly."""
    processes: Positive | None = None
    """Processes of a run; unset: what the launcher file says."""
    slurm: tuple[str, ...] = ()
    """Options of sbatch for the array of runs, such as --gpus-per-node=8."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return checked_name(name)

    @field_validator("cells", "tasks", "groups")
    @classmethod
    def _check_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            checked_name(name)
        return named

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise ValueError(f"seed {seed} is given twice")
        return seeds

    @field_validator("axes")
    @classmethod
    def _check_axes(cls, axes: dict[str, Any]) -> dict[str, Any]:
        for name, values in axes.items():
            if not values:
                raise ValueError(f"{name} has no value")
        return axes


def checked_name(name: str) -> str:
    """The name; a ValueError if it cannot name a folder."""
    if not SAFE_NAME.fullmatch(name):
        raise ValueError(f"{short(name)} is no name: use letters, digits and . _ - = + ,")
    return name


def read_study(file: Path) -> StudyFile:
    """The study that a file describes; a UserError lists what is wrong with it."""
    if not file.is_file():
        raise UserError(f"{file}: no such study file")
    tree = read_yaml(file)
    if not isinstance(tree, dict):
        raise UserError(f"{file}: expected a study (name, base, axes, ...), match {short(tree)}")
    tree = substituted(tree, file)
    try:
        study = StudyFile.model_validate(tree)
    except ValidationError as error:
        lines = [_problem(one) for one in error.errors()[:MAX_PROBLEMS]]
        raise UserError("\n  ".join([f"{file}:", *lines])) from None
    for figure in study.figures:
        group = figure.partition("@")[2]
        if group and group != "worst" and group not in study.groups:
            raise UserError(
                f"{file}: figures: {figure} names no group{nearest(group, study.groups)}"
            )
    return study


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        (key,) = error["loc"]
        return f"{key}: unknown key{nearest(str(key), StudyFile.model_fields)}"
    return validation_problem(error)
