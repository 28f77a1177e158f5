"""`make licences`: the licences of all that the package installs, from the metadata of what is
installed, as the table of docs/licences.md."""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"dev", "docs", "release"}
"""Extras for work on the project; users do not install them."""
HEAD = """# Licences of the dependencies

What `pip install hybrid_dist` and its extras bring, at the versions of constraints.txt, as each
package's metadata states its licence; `make licences` writes this page. hybrid_dist itself is under
Apache-2.0 and contains no code of these packages. The extras `gpu` and `gpu-cu13` take faiss-gpu or
faiss-gpu-cuvs in place of faiss-cpu, whose metadata states no licence. Builds of torch for CUDA
install further packages of NVIDIA under its own licences.

| package | licence | for |
|---|---|---|
"""
CLASSIFIER = "License :: OSI Approved :: "
LONGEST = 60
"""A longer field has the text of the licence in place of its name."""


def requirements() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for by extra; that of every installation is under ""."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: [Requirement(line) for line in lines]
        for extra, lines in extras.items()
        if extra not in TOOLS
    }


def licence(package: str) -> str:
    """What its metadata states: an SPDX expression, or the name in older fields."""
    about = metadata.metadata(package).json
    expression = str(about.get("license_expression", ""))
    stated = expression or " ".join(str(about.get("license", "")).split())
    if stated and (expression or len(stated) <= LONGEST):
        return stated
    lines = about.get("classifier", [])
    names = [line.removeprefix(CLASSIFIER) for line in lines if line.startswith(CLASSIFIER)]
    return ", ".join(names) or "not stated"


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def installed(first: Requirement, seen: set[str]) -> Iterator[str]:
    """A package and all that it requires here, each once."""
    name = normal(first.name)
    if name in seen:
        return
    try:
        needed = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # of an extra that is not installed
        return
    seen.add(name)
    yield name
    for line in needed:
        requirement = Requirement(line)
        extras = [*first.extras, ""]
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            yield from installed(requirement, seen)


def rows() -> list[tuple[str, str, str]]:
    """Package, licence and the extra that brings it, by name."""
    seen = set[str]()
    return sorted(
        (name, licence(name), f"`{extra}`" if extra else "")
        for extra, wanted in requirements().items()
        for requirement in wanted
        for name in installed(requirement, seen)
    )


def main() -> None:
    print(HEAD + "\n".join(f"| {' | '.join(row)} |" for row in rows()))


if __name__ == "__main__":
    main()
