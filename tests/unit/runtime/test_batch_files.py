"""What the batch files ask of srun: the real files, with an srun that notes its words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_dist.runtime.templates import copy_templates

SRUN = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([sys.argv[1:], dict(os.environ)]), file=calls)
if "paths" in sys.argv:
    print("runs/big", os.environ["PATHS_OF_RUN"], sep="\\n")
"""
PROGRAMS = {
    "srun": SRUN,
    "scontrol": "#!/bin/sh\n[ $2 = hostnames ] && printf 'node1\\nnode2\\n' || echo NodeAddr=a\n",
    "getent": "#!/bin/sh\necho 198.18.0.1 STREAM\n",
    "squeue": "#!/bin/sh\necho COMPLETING\n",
}
JOB = {
    "SLURM_JOB_ID": "12345",
    "SLURM_NNODES": "2",
    "SLURM_JOB_NODELIST": "node[1-2]",
    "SLURMD_NODENAME": "node1",
    "SLURM_GPUS_ON_NODE": "8",
    "SLURM_CPUS_ON_NODE": "64",
}
VARIABLES = {  # which srun reads, and the option of the same meaning
    "SRUN_CPUS_PER_TASK": "--cpus-per-task",
    "SLURM_CPUS_PER_TASK": "--cpus-per-task",
    "SLURM_CPUS_PER_GPU": "--cpus-per-gpu",
    "SLURM_TRES_PER_TASK": "--tres-per-task",
    "SLURM_MEM_PER_CPU": "--mem-per-cpu",
    "SLURM_MEM_PER_GPU": "--mem-per-gpu",
    "SLURM_MEM_PER_NODE": "--mem",
    "SLURM_GPUS_PER_TASK": "--gpus-per-task",
    "SLURM_NTASKS_PER_GPU": "--ntasks-per-gpu",
}
FOREIGN = ("SLURM_", "SRUN_", "HF_", "HYBRID_DIST_", "TORCH_", "CONTAINER")
"""Variables of the one who runs the tests."""
EXCLUSIVE = (
    {"--cpus-per-task", "--cpus-per-gpu", "--tres-per-task"},
    {"--mem", "--mem-per-cpu", "--mem-per-gpu"},
    {"--ntasks-per-node", "--ntasks-per-gpu"},
    {"--gpus-per-task", "--ntasks-per-gpu"},
)
Call = tuple[list[str], dict[str, str]]


class Job:
    """A submit folder, whose batch files run as in a job of two nodes with eight GPUs each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "user"
        copy_templates(self.folder)
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name, text in PROGRAMS.items():
            (self._bin / name).write_text(text)
            (self._bin / name).chmod(0o755)

    def run(self, script: str, *words: str, **environment: str) -> tuple[list[Call], str]:
        """The calls of srun, and the output."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        calls = self.folder.parent / "calls"
        own = {"SLURM_SUBMIT_DIR": str(self.folder), "CALLS": str(calls), "PATHS_OF_RUN": "runs"}
        own |= {"PATH": f"{self._bin}:{kept['PATH']}", "HOME": str(self.folder.parent / "home")}
        done = subprocess.run(
            ["bash", str(self.folder / "slurm" / script), *words],
            env=kept | JOB | own | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(json.loads(line)) for line in calls.read_text().splitlines()], done.stdout


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train.sbatch", ["run.yaml"]),
        ("evaluate.sbatch", ["--model", "runs/big"]),
        ("command.sbatch", ["--version"]),
        ("doctor.sbatch", []),
    ],
)
@pytest.mark.parametrize(
    "given",
    [
        {"SLURM_CPUS_PER_GPU": "8", "SLURM_MEM_PER_GPU": "32768"},
        {"SLURM_CPUS_PER_TASK": "64", "SLURM_TRES_PER_TASK": "cpu=64", "SLURM_MEM_PER_NODE": "9"},
        {"SLURM_MEM_PER_CPU": "100", "SLURM_NTASKS_PER_GPU": "1", "SLURM_GPUS_PER_TASK": "1"},
    ],
    ids=["by GPU", "by task", "by core"],
)
def test_srun_is_told_everything_in_one_way(
    job: Job, script: str, words: list[str], given: dict[str, str]
) -> None:
    """srun ends with an error for two ways, whether they are options or variables."""
    calls, _ = job.run(script, *words, **given)
    assert len(calls) >= 1
    for options, environment in calls:
        told = {option for name, option in VARIABLES.items() if name in environment}
        told |= {word.partition("=")[0] for word in options if word.startswith("--")}
        for group in EXCLUSIVE:
            assert len(told & group) <= 1, (told & group, options)
        assert environment["SRUN_CPUS_PER_TASK"] == "64"
        assert environment["SLURM_MEM_PER_NODE"] == "0", "all that the job has"


@pytest.mark.parametrize(("cpus", "warns"), [("31", True), ("32", False)])
def test_few_cores_for_each_gpu_are_reported(job: Job, cpus: str, warns: bool) -> None:
    _, output = job.run("doctor.sbatch", SLURM_CPUS_ON_NODE=cpus)
    assert ("warning: fewer than 4 CPUs for each GPU" in output) == warns


def mounts(options: list[str]) -> list[str]:
    (option,) = [word for word in options if word.startswith("--container-mounts=")]
    places = [place.split(":") for place in option.partition("=")[2].split(",")]
    assert all(len(place) == 2 and place[0] == place[1] for place in places)
    return [place[0] for place in places]


def test_a_container_sees_what_the_run_reads_and_writes(job: Job, tmp_path: Path) -> None:
    """Also through links, whose targets the container has to see; and globs, by their folder."""
    user, other = job.folder, tmp_path / "other"
    for name in ("stores", "pairs", "scratch", "tasks"):
        (other / name).mkdir(parents=True)
    (other / "pairs/a.jsonl").touch()
    (user / "runs").symlink_to(other / "scratch")
    (user / "linked").symlink_to(other / "stores")
    found = ["runs", "linked/mine", f"{other}/pairs/*.jsonl", "configs/demo.yaml", "xlm-roberta"]
    calls, _ = job.run(
        *("train.sbatch", "run.yaml"),
        PATHS_OF_RUN="\n".join(found),
        CONTAINER_RUNTIME="pyxis",
        CONTAINER="/images/a.sqsh",
        CONTAINER_MOUNTS="/data:/data",
        HF_HOME=str(other / "hub"),
    )
    home = tmp_path / "home/.cache/hybrid_dist"
    caches = [str(other / "hub"), str(home), str(home / "torch_extensions")]
    assert mounts(calls[0][0]) == [str(user), "/data", *caches]
    for options, environment in calls[1:]:
        places = mounts(options)
        assert places == [
            *(str(user), "/data", *caches),
            *(str(other / name) for name in ("scratch", "stores", "pairs")),
        ]
        assert "--container-image=/images/a.sqsh" in options
        assert environment["HF_HOME"] == caches[0]
        assert Path(environment["TORCH_EXTENSIONS_DIR"]).is_dir()


@pytest.mark.parametrize("spec", ["pairs:{}", "own=pairs:{}", "--task=pairs:{}", "{}"])
def test_a_container_sees_the_paths_that_a_command_names(
    job: Job, tmp_path: Path, spec: str
) -> None:
    """For Apptainer the options follow srun's own."""
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs/a.jsonl").touch()
    words = ["evaluate.sbatch", spec.format(tmp_path / "pairs/a.jsonl?skip_bad=1")]
    calls, _ = job.run(*words, CONTAINER_RUNTIME="apptainer", CONTAINER="/images/a.sif")
    for options, _ in calls:
        at = options.index("apptainer")
        assert options[at : at + 4] == ["apptainer", "exec", "--nv", "--bind"]
        bound = options[at + 4].split(",")
        assert bound[0] == f"{job.folder}:{job.folder}"
        assert bound[-1] == f"{tmp_path / 'pairs'}:{tmp_path / 'pairs'}"
        assert options[at + 5 : at + 8] == ["--pwd", str(job.folder), "/images/a.sif"]


def test_an_image_asks_for_gpus_and_infiniband() -> None:
    """enroot mounts neither unless the image's variables name them."""
    lines = (Path(__file__).parents[3] / "slurm/Containerfile").read_text()
    (variables,) = [line for line in lines.splitlines() if line.startswith("ENV NVIDIA")]
    assert "NVIDIA_VISIBLE_DEVICES=all" in variables and "MELLANOX_VISIBLE_DEVICES=all" in variables
    assert "compute" in variables.partition("NVIDIA_DRIVER_CAPABILITIES=")[2]
    assert {"libibverbs1", "ibverbs-providers"} <= set(lines.split())
