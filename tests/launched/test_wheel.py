"""The built wheel, installed into an empty folder, trains and compares the demo's runs."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.launch import ROOT, Done, run_in
from tests.support.runs import column, succeed

SOURCES = ("hybrid_dist", "configs", "launchers", "slurm")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools writes beside the sources."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__", "site.env")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    succeed(run_in({}, [sys.executable, "-c", BUILD, str(out)], folder=copy))
    (built,) = out.glob("hybrid_dist-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what pip makes of the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    succeed(run_in({}, [*pip, "--target", str(folder), str(wheel)]))
    return folder


def command(installed: Path, user: Path, *words: str) -> Done:
    """A command of a user who has the installed package and no checkout."""
    environment = {"PYTHONPATH": str(installed), "PATH": f"{installed}/bin:{os.environ['PATH']}"}
    return succeed(run_in(environment, [sys.executable, *words], folder=user))


def test_the_wheel_holds_the_package_and_its_templates_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    expected = {
        f"hybrid_dist/{'' if name == 'hybrid_dist' else 'files/'}"
        + str(file.relative_to(ROOT / ("" if name != "hybrid_dist" else name)))
        for name in SOURCES
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != "site.env"
    }
    metadata = {name for name in names if ".dist-info/" in name}
    assert {*names} - metadata == expected
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = "import hybrid_dist; print(hybrid_dist.__file__)"
    assert command(installed, tmp_path, "-c", where).output.startswith(str(installed))
    program = str(installed / "bin" / "hybrid-dist")
    command(installed, tmp_path, program, "init", ".")
    sizes = ("--languages", "3", "--train_uids", "100", "--dev_uids", "20", "--test_uids", "20")
    command(installed, tmp_path, program, "toy", "--out", "runs/demo/toy", *sizes)
    launcher = ("-m", "accelerate.commands.launch", "--config_file", "launchers/cpu.yaml")
    training = ("-m", "hybrid_dist.train", "--config", "configs/demo.yaml", "--run.name", "hybrid")
    short = ("--train.steps", "3", "--batching.size", "32", "--log.wandb", "disabled")
    command(installed, tmp_path, *launcher, *training, *short, "--log.every", "1")
    assert column(tmp_path / "runs/demo", "hybrid", "step").tolist() == [1, 2, 3]
    command(installed, tmp_path, program, "compare", "runs/demo/hybrid", "--out", "runs/demo")
    assert (tmp_path / "runs/demo/report.html").is_file()
