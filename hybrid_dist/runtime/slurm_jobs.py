"""Jobs of SLURM: the snapshot that a job runs from, and its submission.

A job may start days after it was submitted, and again after each requeue. It runs the code, batch
files and launcher files as they were when it was submitted, whatever becomes of them meanwhile.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import hybrid_dist
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.runtime.environment import COMMIT, commit
from hybrid_dist.runtime.files import atomic_folder, writing

BATCH_FILES, LAUNCHERS, CODE = "slurm", "launchers", "code"
SNAPSHOT, LOGS = "HYBRID_DIST_SNAPSHOT", "HYBRID_DIST_LOGS"
"""Variables of a job: its snapshot, and the folder of its logs."""
SECRET = re.compile(r"\b(\w*(?:TOKEN|KEY|SECRET|PASSWORD))=[\"']?[^\s\"'$]")
"""A variable whose value is written out, and not a reference to another place."""
JOB = "JOB"
"""In printed lines: the number that sbatch will print."""


def check_batch_files(*names: str) -> None:
    """Refuse a folder without the batch files; a job starts in the folder of its submission."""
    for name in names:
        if not Path(BATCH_FILES, name).is_file():
            raise UserError(
                f"no file {BATCH_FILES}/{name} here; start from the folder that "
                "`hybrid-dist init` has filled"
            )
    _check_site(Path(BATCH_FILES, "site.env"))


def _check_site(file: Path) -> None:
    """Refuse secrets in what every submission copies."""
    lines = file.read_text("utf-8", "replace").splitlines() if file.is_file() else []
    for row, line in enumerate(lines, 1):
        if (found := SECRET.search(line)) and not line.lstrip().startswith("#"):
            raise UserError(
                f"{file}:{row}: sets {found[1]}, and this file is copied with every submission; "
                "set it in the shell that submits, or log in with `wandb login` and "
                "`hf auth login`"
            )


def check_launcher(name: str) -> None:
    """Refuse a launcher that has no file here."""
    known = sorted(file.stem for file in Path(LAUNCHERS).glob("*.yaml"))
    if name not in known:
        raise UserError(f"launcher {name}: no file {LAUNCHERS}/{name}.yaml{nearest(name, known)}")


def next_folder(parent: Path) -> Path:
    """The folder of the next submission: 1, 2 and so on, since jobs still run from older ones."""
    numbers = [int(path.name) for path in parent.glob("*") if path.name.isdigit()]
    return parent.absolute() / str(max(numbers, default=0) + 1)


def write_snapshot(
    folder: Path, files: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> None:
    """Copy what a job runs into a new folder, with `files` beside it.

    That is the package as it is installed, slurm/ and launchers/. The batch files in the copy set
    `variables` and run the copy.
    """
    package = Path(hybrid_dist.__file__).resolve().parent
    leave_out = shutil.ignore_patterns("__pycache__", "*.pyc")
    with atomic_folder(folder, replace=False) as draft:
        shutil.copytree(package, draft / CODE / package.name, ignore=leave_out)
        (draft / CODE / COMMIT).write_text(f"{commit() or 'unknown'}\n")
        for name in (BATCH_FILES, LAUNCHERS):
            shutil.copytree(name, draft / name, ignore=leave_out)
        for script in (draft / BATCH_FILES).glob("*.sbatch"):
            script.write_text(_with_exports(script, {SNAPSHOT: str(folder), **(variables or {})}))
        for name, content in files.items():
            (draft / name).write_text(content, "utf-8")


def _with_exports(script: Path, variables: Mapping[str, str]) -> str:
    """A batch file that sets variables first, below its #SBATCH lines."""
    lines = script.read_text("utf-8").splitlines(keepends=True)
    begin = next(at for at, line in enumerate(lines) if not line.startswith("#"))
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    return "".join([*lines[:begin], *exports, *lines[begin:]])


def log_option(folder: Path, pattern: str) -> str:
    """The option that puts a job's output into a folder; `pattern` is one of sbatch's."""
    return f"--output={str(folder.absolute()).replace('%', '%%')}/{pattern}.out"


def submit_job(command: Sequence[str], logs: Path) -> str:
    """The number of a submitted job. SLURM does not make the folder of its output."""
    with writing(logs):
        logs.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("there is no sbatch here; run this on a login node") from None
    if done.returncode:
        raise UserError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip().splitlines()[-1].partition(";")[0]
