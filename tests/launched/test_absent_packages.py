"""Training and evaluation where DeepSpeed, W&B and FAISS are not installed."""

import json
import os
import site
import sys
from pathlib import Path

import pytest

from tests.support.launch import ROOT, Done, run
from tests.support.runs import column, options, succeed

ABSENT = ("deepspeed", "wandb", "faiss")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to everything that is installed but these packages and their metadata."""
    folder = tmp_path_factory.mktemp("packages")
    for place in [*site.getsitepackages(), *(path for path in sys.path if "site-packages" in path)]:
        for entry in Path(place).iterdir():
            absent = entry.name.lower().startswith(ABSENT) or entry.suffix == ".pth"
            if not absent and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


def without(packages: Path, *command: str) -> Done:
    """Python that sees those packages and no others (-S leaves out what is installed)."""
    path = f"{packages}{os.pathsep}{ROOT}"
    return run([sys.executable, "-S", *command], PYTHONPATH=path)


def test_the_packages_are_absent(packages: Path) -> None:
    code = f"from importlib.util import find_spec; print([find_spec(n) for n in {ABSENT}])"
    assert without(packages, "-c", code).output.strip() == "[None, None, None]"


@pytest.mark.parametrize("mode", ["disabled", pytest.param("offline", marks=pytest.mark.long)])
def test_a_run_trains_and_evaluates(mode: str, packages: Path, toy: Path, tmp_path: Path) -> None:
    few = {"train__steps": "3", "eval__tasks": f"toy:{toy}", "log__wandb": mode}
    done = without(packages, "-m", "hybrid_dist.train", *options(toy, tmp_path, "run", **few))
    succeed(done)
    assert list(column(tmp_path, "run", "step")) == [1, 2, 3]
    described = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert described["packages"]["deepspeed"] is described["packages"]["wandb"] is None
    report = json.loads((tmp_path / "run" / "eval" / "toy" / "report.json").read_text())
    assert "torch" in report["settings"]["search"]
    assert ("wandb" in done.output.lower()) == (mode == "offline"), done.output
