"""Imports point down only: the layers of docs/design.md, read from the sources themselves."""

import ast
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import hybrid_dist

PACKAGE = Path(hybrid_dist.__file__).resolve().parent
NAME = PACKAGE.name

LAYERS = {
    "cli": 9,
    "__main__": 9,
    "train": 9,
    "evaluate": 9,
    "mine": 9,
    "doctor": 9,
    "commands": 8,
    "api": 8,
    "studies": 7,
    "demo": 6,
    "mining": 6,
    "reporting": 6,
    "estimating": 6,
    "training": 5,
    "evaluation": 5,
    "batching": 4,
    "model": 4,
    "losses": 4,
    "data": 3,
    "tracking": 3,
    "runtime": 2,
    "config": 1,
    "errors": 0,
    "text": 0,
}
"""The layer of every part, which is the first name below the package."""
SAME_LAYER = {("__main__", "cli"), ("errors", "text")}
"""Imports between two parts of one layer: importer and imported."""
ENTRY_POINTS = {"train", "evaluate", "mine", "doctor"}
"""Modules at the top that `python -m` starts; a module below them may have the same name."""


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
    if importer == target or (importer, target) in SAME_LAYER:
        return True
    return LAYERS[target] < LAYERS[importer]


def wrong_imports(package: Path) -> list[str]:
    wrong = []
    for module, file in modules(package):
        if not module:
            continue  # the package's own __init__ is free
        importer = module.split(".")[0]
        for name in imported(module, file):
            target = name.split(".")[0]
            if target in LAYERS and not allowed(importer, target):
                wrong.append(f"{module} imports {name}")
    return wrong


def test_every_part_has_a_layer() -> None:
    parts = {module.split(".")[0] for module, _ in modules(PACKAGE) if module}
    assert parts == set(LAYERS), "give new parts a layer, here and in docs/design.md"
    assert len(list(modules(PACKAGE))) > 30


def test_imports_point_down_only() -> None:
    assert wrong_imports(PACKAGE) == []


def test_no_module_name_appears_twice() -> None:
    names = [
        module.rpartition(".")[2]
        for module, file in modules(PACKAGE)
        if file.name != "__init__.py"
        and module not in ENTRY_POINTS
        and not module.startswith("commands.")
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("module", ["tables.mapped_tables", "tables.conditions", "sources.mteb"])
def test_tables_and_sources_may_be_imported_first(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import hybrid_dist.data.{module}"], check=True)


def test_the_plan_reads_the_index_and_no_text() -> None:
    file = PACKAGE / "batching" / "streams.py"
    from_data = {name for name in imported("batching.streams", file) if name.startswith("data")}
    assert from_data == {"data.store.index.Index", "data.store.index.TrainingSource"}


PLANTED = {
    "config.schema": "from hybrid_dist.data import reading",
    "data.reading": "import hybrid_dist.batching.plan as plan",
    "data.store.format": "from hybrid_dist import evaluation",
    "tracking.metrics_log": "from ..training.loop import train",
    "model.tokenization": "def late():\n    from hybrid_dist import evaluation",
    "training.loop": "from hybrid_dist.evaluation.search import Searcher",
    "evaluation.search": "from hybrid_dist.training import loop",
    "evaluation.metrics": "from hybrid_dist.reporting import comparison",
    "runtime.files": "from hybrid_dist.tracking import metrics_log",
    "reporting.report": "from hybrid_dist.commands import compare",
    "batching.plan": "from hybrid_dist.cli import main",
}
"""Imports of higher layers, each added to a module."""


def test_a_planted_import_of_a_higher_layer_is_found(tmp_path: Path) -> None:
    copy = tmp_path / NAME
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for module, line in PLANTED.items():
        with (copy / f"{module.replace('.', '/')}.py").open("a", encoding="utf-8") as file:
            file.write(f"\n\n{line}\n")
    found = [line.split(" imports ")[0] for line in wrong_imports(copy)]
    assert sorted(found) == sorted(PLANTED)
