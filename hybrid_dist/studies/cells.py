"""The cells of a study and their runs.

A *cell* is one setting of what the study varies; each of its *runs* has another seed and is an
ordinary run folder, OUT/runs/CELL/seed-N.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from hybrid_dist.config.schema import Config, Eval, flatten
from hybrid_dist.config.task_names import label_of, split_label
from hybrid_dist.studies.recipes import Recipe, train_files
from hybrid_dist.studies.study_file import PLACEHOLDER, StudyFile

RECIPE = "recipe."
RECIPES = "recipes"
"""The folder of the pair files. It may be there before a study has passed all its checks."""
SEPARATE_POOLS = "tatoeba:"
"""The task whose language pairs have pools of their own: it has no multilingual figure, which
training names as the one that chooses the best model even if it never chooses."""
NOT_IN_IDENTITY = (
    *("run.", "log.", "eval.tasks", "checkpoint.", "hang_minutes.", "train.chunk_size"),
    "train.chunk_tokens",
    "data.train",
)
"""Keys that do not change what a run gives; data.train is compared as the file gives it."""
OF_UNTRAINED = ("model.", "eval.precision", "seed", "untrained")
"""Keys that decide what an untrained model gives."""
OF_TRAINING = (
    *("model.dropout", "model.attention_dropout"),
    *("model.lora_rank", "model.lora_alpha", "model.lora_modules", "model.lora_dropout"),
)
"""Keys of the model that act in training only."""


@dataclass(frozen=True)
class Cell:
    """One setting of what a study varies."""

    name: str
    config: Config
    """Of all its runs, without their seeds and folders."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The values that make the cell, by key."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The cell's value on each axis; empty for cells that stand beside the grid."""
    recipe: Recipe | None = None
    is_untrained: bool = False

    def identity(self) -> dict[str, Any]:
        """What makes it this cell: two cells with the same are one."""
        recipe = None if self.recipe is None else self.recipe.model_dump(mode="json")
        identity = {
            **identity_values(self.config),
            "data.train": [
                entry if isinstance(entry, str) else asdict(entry)
                for entry in self.config.data.train
            ],
            "recipe": recipe,
            "untrained": self.is_untrained,
        }
        if not self.is_untrained:
            return identity
        if self.config.model.init == "scratch":  # its random weights are those of the base's seed
            identity["seed"] = self.config.seed
        return identity_of_untrained(identity)

    def label(self, axes: Sequence[str]) -> str:
        """The cell's values on some axes; its name if it stands beside the grid."""
        if not self.labels:
            return self.name
        return ",".join(self.labels[axis] for axis in axes)

    def value(self, key: str) -> Any:
        """The value of a key, of its config or its recipe."""
        if key.startswith(RECIPE):
            return getattr(self.recipe, key.removeprefix(RECIPE), None)
        return attrgetter(key)(self.config)


@dataclass(frozen=True)
class CellRun:
    """A run of a cell: one seed."""

    cell: Cell
    seed: int | None
    """None for an untrained model, which is evaluated once."""
    config: Config
    tasks: Mapping[str, str]
    """What it is evaluated on: label -> NAME:PATH."""

    @property
    def name(self) -> str:
        return self.config.run.name

    @property
    def folder(self) -> Path:
        return self.config.run.folder

    def reports(self, label: str) -> Path:
        """The folder of its report on a task."""
        name = label_of(self.tasks[label])
        return self.folder / ("eval" if label == name else f"eval-{label}") / name


@dataclass(frozen=True)
class Grid:
    """A study, its cells and their runs."""

    study: StudyFile
    file: Path
    out: Path
    base: Config
    cells: tuple[Cell, ...]

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    def baseline_of(self, cell: Cell) -> Cell | None:
        """What a cell is compared with; None for a baseline, and for cells that have none."""
        chosen = self.study.baseline
        if isinstance(chosen, str):
            return None if cell.name == chosen else self.cell(chosen)
        if not cell.labels or chosen.items() <= cell.labels.items():
            return None
        wanted = {**cell.labels, **chosen}
        return next(other for other in self.cells if other.labels == wanted)

    @property
    def baseline_name(self) -> str:
        """The baseline in words."""
        chosen = self.study.baseline
        return chosen if isinstance(chosen, str) else ", ".join(chosen.values())

    def recipe_folder(self, cell: Cell) -> Path:
        """Where the pair files of a cell's recipe are."""
        return self.out / RECIPES / (cell.recipe or Recipe()).fingerprint

    def recipe_sources(self, cell: Cell) -> tuple[str, ...]:
        """What a cell's recipe reads."""
        return (cell.recipe.sources if cell.recipe else ()) or cell.config.data.train_paths

    def runs(self, cell: Cell) -> list[CellRun]:
        """The runs of a cell, one for each seed."""
        seeds: Sequence[int | None] = [None] if cell.is_untrained else self.study.seeds
        return [self._run(cell, seed) for seed in seeds]

    def all_runs(self) -> list[CellRun]:
        """All runs, the first seed of every cell first."""
        by_cell = [self.runs(cell) for cell in self.cells]
        rounds = itertools.zip_longest(*by_cell)
        return [run for some in rounds for run in some if run is not None]

    def _run(self, cell: Cell, seed: int | None) -> CellRun:
        """A run of a cell, with the config that training gets."""
        config, data = cell.config, cell.config.data
        if cell.recipe is not None:
            files = train_files(self.recipe_folder(cell), len(self.recipe_sources(cell)))
            entries = zip(files, data.train, strict=True)
            train = tuple(
                str(file) if isinstance(entry, str) else replace(entry, path=str(file))
                for file, entry in entries
            )
            data = replace(data, train=train)
        name = run_name(cell.name, seed)
        config = replace(
            config,
            seed=config.seed if seed is None else seed,
            run=replace(config.run, dir=str(self.out / "runs"), name=name),
            data=data,
            eval=self._evaluated_by_training(config.eval, seed),
            log=replace(config.log, group=self.study.name, tags=(*config.log.tags, cell.name)),
        )
        return CellRun(cell, seed, config, self._tasks(cell, seed))

    def _tasks(self, cell: Cell, seed: int | None) -> dict[str, str]:
        """What a run is evaluated on; a cell without a recipe takes another's held-out pairs."""
        tasks = {}
        for label, entry in self.study.tasks.items():
            if seed is None or entry.seeds is None or seed in entry.seeds:
                spec = entry.task
                if PLACEHOLDER in spec:
                    owner = cell if cell.recipe is not None else self._with_held_out()
                    spec = spec.replace(PLACEHOLDER, str(self.recipe_folder(owner)))
                tasks[label] = spec
        return tasks

    def _evaluated_by_training(self, given: Eval, seed: int | None) -> Eval:
        """The tasks that training evaluates at its end: those under their own names.

        If the config evaluates on the way, its own tasks stay, so that no model is chosen by the
        tasks of the study.
        """
        if given.every:
            return given
        own = [
            entry.task
            for label, entry in self.study.tasks.items()
            if label == label_of(entry.task) and PLACEHOLDER not in entry.task
            if seed is None or entry.seeds is None or seed in entry.seeds
        ]
        own.sort(key=lambda spec: split_label(spec)[1].startswith(SEPARATE_POOLS))
        metric = given.metric
        if own and split_label(own[0])[1].startswith(SEPARATE_POOLS):
            metric = "map.cross_lingual"
        return replace(given, tasks=tuple(own), metric=metric)

    def _with_held_out(self) -> Cell:
        """The first cell whose recipe sets pairs aside."""
        return next(
            cell for cell in self.cells if cell.recipe is not None and cell.recipe.held_out_uids
        )


def identity_values(config: Config) -> dict[str, Any]:
    """The values of a config that change what its runs give, whatever their seeds."""
    return {
        key: value
        for key, value in flatten(config).items()
        if key != "seed" and not key.startswith(NOT_IN_IDENTITY)
    }


def identity_of_untrained(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of an untrained cell without the keys of training."""
    return {
        key: value
        for key, value in identity.items()
        if key.startswith(OF_UNTRAINED) and key not in OF_TRAINING
    }


def run_name(cell: str, seed: int | None) -> str:
    """The name of a run, which is also its folder under OUT/runs."""
    return cell if seed is None else f"{cell}/seed-{seed}"


def matches(cell: Cell, only: Mapping[str, Any]) -> bool:
    """Whether a trained cell has these values."""
    return not cell.is_untrained and all(cell.value(key) == value for key, value in only.items())
