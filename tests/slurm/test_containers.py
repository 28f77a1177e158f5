"""The words between srun and a command in a container. No container runs here. What is tested is
our line: with a stand-in for Apptainer that notes it and starts the command, and with an srun that
does not have Pyxis' options and names the first that it is given."""

import pytest

import hybrid_dist
from tests.slurm.cluster import SYSTEM_PATH
from tests.slurm.jobs import Site

pytestmark = pytest.mark.long
STAND_IN = """#!/bin/bash
echo "$@" >"$SLURM_SUBMIT_DIR/words"
until [[ $1 == *.sif ]]; do shift; done
exec "${@:2}"
"""


def test_apptainer_gets_the_gpus_and_the_submit_folder(site: Site) -> None:
    program = site.folder / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    job = site.sbatch(
        *("slurm/command.sbatch", "--version"),
        CONTAINER_RUNTIME="apptainer",
        CONTAINER="/images/a.sif",
        CONTAINER_MOUNTS="/data:/data",
        PATH=f"{program.parent}:{SYSTEM_PATH}",
    )
    assert site.succeed(job).splitlines()[-1] == f"hybrid-dist {hybrid_dist.__version__}"
    user = site.folder
    assert (user / "words").read_text() == (
        f"exec --nv --bind {user}:{user},/data:/data --pwd {user} /images/a.sif "
        "python -m hybrid_dist --version\n"
    )


def test_pyxis_is_used_through_srun(site: Site) -> None:
    words = ("slurm/command.sbatch", "--version")
    job = site.sbatch(*words, CONTAINER_RUNTIME="pyxis", CONTAINER="/images/a.sqsh")
    assert site.cluster.wait(job)["JobState"] == "FAILED"
    assert "unrecognized option '--container-image=/images/a.sqsh'" in site.output(job)


def test_an_unknown_runtime_is_refused(site: Site) -> None:
    job = site.sbatch("slurm/command.sbatch", "--version", CONTAINER_RUNTIME="docker")
    assert site.cluster.wait(job)["ExitCode"] == "2:0"
    assert "CONTAINER_RUNTIME=docker: pyxis and apptainer are known" in site.output(job)
