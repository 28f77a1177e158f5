"""Jobs in containers. No container runs here: a stand-in for Apptainer hides the folders of users,
in a mount namespace, but for those that it is given; and an srun without the options of Pyxis names
the first that it is given. tests/unit/runtime/test_batch_files.py has the whole lines."""

from pathlib import Path

import pytest

import hybrid_dist
from tests.slurm.cluster import SYSTEM_PATH
from tests.slurm.jobs import DEMO, Site, options

pytestmark = pytest.mark.long
STAND_IN = """#!/bin/bash
until [[ $1 == *.sif ]]; do
    [[ $1 != --bind ]] || BIND=$2
    [[ $1 != --pwd ]] || FOLDER=$2
    shift
done
export BIND FOLDER
exec unshare --mount bash -ec '
    kept=$(mktemp -d) shown=()
    for bind in ${BIND//,/ }; do
        [[ $bind == *:$HIDDEN/* && $bind != *:$NOT_MOUNTED ]] || continue
        mkdir "$kept/${#shown[@]}"
        mount --bind "${bind%%:*}" "$kept/${#shown[@]}"
        shown+=("${bind#*:}")
    done
    mount -t tmpfs none "$HIDDEN"
    for number in "${!shown[@]}"; do
        mkdir -p "${shown[number]}"
        mount --bind "$kept/$number" "${shown[number]}"
    done
    cd "$FOLDER"
    exec "$@"' container "${@:2}"
"""


@pytest.fixture
def container(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a job in the stand-in."""
    program = site.folder / "bin/apptainer"
    program.parent.mkdir(exist_ok=True)
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return {
        "CONTAINER_RUNTIME": "apptainer",
        "CONTAINER": "/images/a.sif",
        "HIDDEN": str(tmp_path_factory.getbasetemp()),
        "PATH": f"{program.parent}:{SYSTEM_PATH}",
    }


def train(site: Site, folder: Path, name: str, **environment: str) -> str:
    """A run of the demo on two nodes, into a folder outside the submit folder."""
    words = options(name, run__dir=folder, data__train=site.folder / "runs/demo/toy/train.jsonl")
    return site.sbatch("--nodes=2", "slurm/train.sbatch", DEMO, *words, **environment)


@pytest.mark.thorough
def test_a_run_in_a_container_writes_to_another_disk(
    site: Site, container: dict[str, str], tmp_path: Path
) -> None:
    """Which the submit folder has a link to, as it has to the data."""
    (tmp_path / "scratch").mkdir()
    (site.folder / "elsewhere").symlink_to(tmp_path / "scratch")
    log = site.succeed(train(site, Path("elsewhere/runs"), "boxed", **container))
    assert "2 x cpu (ddp, fp32)" in log, log
    assert (tmp_path / "scratch/runs/boxed/checkpoints/latest").is_file()


def test_a_folder_that_is_not_mounted_is_refused_before_the_run(
    site: Site, container: dict[str, str], tmp_path: Path
) -> None:
    """What the run wrote would be lost with the container."""
    job = train(site, tmp_path, "lost-with-it", NOT_MOUNTED=str(tmp_path), **container)
    assert site.cluster.wait(job, 120)["JobState"] == "FAILED"
    log = site.output(job)
    assert f"{tmp_path}: is not the folder of this name on node1" in log, log
    assert "add it to CONTAINER_MOUNTS" in log
    assert "ddp, fp32" not in log
    assert list(tmp_path.iterdir()) == []


def test_a_command_runs_in_a_container(site: Site, container: dict[str, str]) -> None:
    job = site.sbatch("slurm/command.sbatch", "--version", **container)
    assert site.succeed(job).splitlines()[-1] == f"hybrid-dist {hybrid_dist.__version__}"


def test_pyxis_is_used_through_srun(site: Site) -> None:
    words = ("slurm/command.sbatch", "--version")
    job = site.sbatch(*words, CONTAINER_RUNTIME="pyxis", CONTAINER="/images/a.sqsh")
    assert site.cluster.wait(job)["JobState"] == "FAILED"
    assert "unrecognized option '--container-image=/images/a.sqsh'" in site.output(job)


def test_an_unknown_runtime_is_refused(site: Site) -> None:
    job = site.sbatch("slurm/command.sbatch", "--version", CONTAINER_RUNTIME="docker")
    assert site.cluster.wait(job)["ExitCode"] == "2:0"
    assert "CONTAINER_RUNTIME=docker: pyxis and apptainer are known" in site.output(job)
