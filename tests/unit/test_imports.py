"""Imports point down only: the floors of docs/design.md, read from the sources themselves."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import hybrid_dist

PACKAGE = Path(hybrid_dist.__file__).resolve().parent
NAME = PACKAGE.name

FLOORS = {
    **dict.fromkeys(("config", "config_file", "errors", "strict_yaml", "runtime"), 0),
    **dict.fromkeys(("data", "tracking", "cluster"), 1),
    **dict.fromkeys(("batching", "model", "losses"), 2),
    **dict.fromkeys(("training", "evaluation", "studies"), 3),
    **dict.fromkeys(("__main__", "cli", "train", "run", "evaluate", "plan", "scaffold"), 4),
    **dict.fromkeys(("prepare", "describe", "overlap", "doctor", "watch", "nodes"), 4),
    **dict.fromkeys(("prefetch", "tell"), 4),
}
LEVEL_STEPS = {
    ("config_file", "config"),
    ("config_file", "errors"),
    ("config_file", "strict_yaml"),
    ("strict_yaml", "errors"),
    ("runtime", "errors"),
    ("errors", "runtime"),
    ("config_file", "runtime"),
    ("strict_yaml", "runtime"),
    ("studies", "evaluation"),
}
"""Steps from one part to another on the same floor; parts of floor 4 wire each other freely."""


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """Dotted names, below the package, of all its modules."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), file


def imported(module: str, file: Path) -> Iterator[str]:
    """Dotted names, below the package, that a module imports anywhere, by `from` or `import`."""
    is_package = file.name == "__init__.py"
    here = [NAME, *filter(None, module.split("."))]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            base = here[: len(here) - up] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            found = [".".join([*base, alias.name]) for alias in node.names]
        for name in found:
            if name.split(".")[0] == NAME:
                yield name.removeprefix(NAME).removeprefix(".")


def allowed(importer: str, target: str) -> bool:
    """Whether a part (the first name below the package) may import another."""
    if importer == target or (importer, target) in LEVEL_STEPS:
        return True
    if FLOORS[importer] == FLOORS[target] == 4:
        return True
    return FLOORS[target] < FLOORS[importer]


def wrong_imports(package: Path) -> list[str]:
    wrong = []
    for module, file in modules(package):
        if not module:
            continue  # the package's own __init__ is free
        importer = module.split(".")[0]
        for name in imported(module, file):
            target = name.split(".")[0]
            if target in FLOORS and not allowed(importer, target):
                wrong.append(f"{module} imports {name}")
    return wrong


def test_every_module_stands_on_a_floor() -> None:
    parts = {module.split(".")[0] for module, _ in modules(PACKAGE) if module}
    assert parts - set(FLOORS) == set(), "give new parts a floor, here and in docs/design.md"
    assert len(list(modules(PACKAGE))) > 30


def test_imports_point_down_only() -> None:
    assert wrong_imports(PACKAGE) == []


def test_the_plan_reads_the_index_and_no_text() -> None:
    file = PACKAGE / "batching" / "streams.py"
    from_data = {name for name in imported("batching.streams", file) if name.startswith("data")}
    assert from_data == {"data.store.Index", "data.store.Source"}


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("config", "from hybrid_dist.data import pairs"),
        ("data/pairs", "import hybrid_dist.batching.plan as plan"),
        ("tracking/metrics_log", "from ..training.loop import train"),
        ("model/tokens", "def late():\n    from hybrid_dist import evaluation"),
        ("training/loop", "from hybrid_dist.evaluation.search import Searcher"),
        ("evaluation/search", "from hybrid_dist.training import loop"),
        ("evaluation/report", "from hybrid_dist.studies import compare"),
        ("batching/plan", "from hybrid_dist.cli import main"),
    ],
)
def test_a_planted_import_of_a_higher_floor_is_found(
    module: str, line: str, tmp_path: Path
) -> None:
    copy = tmp_path / NAME
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / f"{module}.py"
    file.write_text(f"{file.read_text('utf-8')}\n\n{line}\n", "utf-8")
    wrong = wrong_imports(copy)
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{module.replace('/', '.')} imports ")
