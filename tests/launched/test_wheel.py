"""The sdist and the wheel built from it: installed into an empty folder, it runs the demo."""

import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.launch import ROOT, Done, run_in
from tests.support.runs import column, succeed

SOURCES = ("hybrid_dist", "configs", "launchers", "slurm")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project: setuptools writes beside the sources."""
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = shutil.ignore_patterns(".git", *(Path(line).name for line in lines))
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "copy", ignore=ignored))


@pytest.fixture(scope="module")
def unpacked(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, as pip unpacks it."""
    out = tmp_path_factory.mktemp("sdist")
    succeed(run_in({}, [sys.executable, "-c", BUILD.format("sdist"), str(out)], folder=source))
    (packed,) = out.glob("hybrid_dist-*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(out, filter="data")
    return out / packed.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    succeed(run_in({}, [sys.executable, "-c", BUILD.format("wheel"), str(out)], folder=unpacked))
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


def files(folder: Path) -> set[str]:
    """Its files, without what building writes."""
    found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    written = {"PKG-INFO", "setup.cfg"}
    return {name for name in found - written if ".egg-info/" not in name and name[:6] != "build/"}


def test_the_sdist_holds_the_whole_project(source: Path, unpacked: Path) -> None:
    """The tests too, so that a distribution can run them."""
    assert files(unpacked) == files(source)
    assert "tests/launched/test_wheel.py" in files(unpacked)


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
