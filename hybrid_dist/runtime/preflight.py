"""Before a job starts: that its nodes have equal versions, see their GPUs and share a folder.

`srun --ntasks-per-node=1 python -m hybrid_dist.runtime.preflight FOLDER`. The nodes meet in the
folder, through files that each writes and all read: a disk that is not shared is seen by what is
missing there.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hybrid_dist.errors import LaunchError, UserError, report_errors
from hybrid_dist.runtime.environment import versions
from hybrid_dist.runtime.files import write_atomically

MINUTES = "NODE_CHECK_MINUTES"
"""The variable with the minutes that nodes wait for each other: a file server may show another
node's file a minute late, and a first start on a node loads its image and its Python packages."""
DEFAULT_MINUTES = 10.0
TOKEN = "HYBRID_DIST_TOKEN"
"""The variable with what the batch file has written into the folder, after its node's name."""


def main() -> None:
    program = (
        f"hybrid_dist.runtime.preflight ({os.environ.get('SLURMD_NODENAME', platform.node())})"
    )
    with report_errors(program):
        if len(sys.argv) != 2 or "SLURM_PROCID" not in os.environ:
            raise UserError(
                "start it in a job: srun python -m hybrid_dist.runtime.preflight FOLDER"
            )
        check_gpus(int(os.environ.get("SLURM_GPUS_ON_NODE") or 0))
        number, count = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
        name, folder, seconds = os.environ["SLURMD_NODENAME"], Path(sys.argv[1]), 60 * minutes()
        if token := os.environ.get(TOKEN):
            check_token(folder, token, name, seconds)
        nodes = meet(folder, number, count, {"node": name} | installed(), seconds)
        check_versions(nodes)


def installed() -> dict[str, str]:
    installed_versions = {"python": platform.python_version()} | versions()
    return {name: version or "not installed" for name, version in installed_versions.items()}


def minutes() -> float:
    """How long nodes wait for each other."""
    given = os.environ.get(MINUTES, str(DEFAULT_MINUTES))
    try:
        found = float(given)
    except ValueError:
        found = -1
    if not 0 < found < 1e6:
        raise UserError(f"{MINUTES}={given}: is no number of minutes; give one above 0")
    return found


def check_token(folder: Path, token: str, name: str, seconds: float) -> None:
    """Refuse a folder that is not the one that the batch file has written a token into.

    On the batch file's own node the token is seen at once, or never. In a container, a folder that
    is not mounted is the container's own, and what a run writes there is lost.
    """
    own, _, _ = token.partition(" ")
    end = time.monotonic() + (0 if name == own else seconds)
    while not _holds(folder / "token", token):
        if time.monotonic() >= end:
            remedy = "give a run.dir on a disk that all nodes share"
            if container := os.environ.get("CONTAINER"):
                remedy = f"add it to CONTAINER_MOUNTS in slurm/site.env (container {container})"
            raise UserError(
                f"{folder.parent}: is not the folder of this name on {own}, where the batch file "
                f"wrote into it: {name} does not see that; {remedy}"
            )
        time.sleep(0.2)


def _holds(file: Path, text: str) -> bool:
    try:
        return file.read_text().strip() == text
    except OSError:
        return False


def check_gpus(allotted: int) -> None:
    if not allotted:
        return
    import torch  # takes seconds, and nodes without GPUs can do without

    visible = torch.cuda.device_count()
    if visible < allotted:
        raise LaunchError(
            f"{allotted} GPUs were allotted here and PyTorch sees {visible}; look at nvidia-smi on "
            "this node, whether this PyTorch has CUDA, and whether a container is given the GPUs"
        )


def meet(
    folder: Path,
    number: int,
    count: int,
    facts: Mapping[str, str],
    seconds: float,
) -> list[dict[str, str]]:
    """The report of every node, in their order: each writes a file and waits for all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / str(number), json.dumps(facts))
    except OSError as error:
        raise UserError(
            f"{folder.parent}: cannot be written here ({error.strerror}); give a run.dir on a disk "
            "that all nodes write to"
        ) from None
    wanted, end = {str(other) for other in range(count)}, time.monotonic() + seconds
    while missing := wanted - {file.name for file in folder.iterdir()}:
        if time.monotonic() > end:
            raise UserError(
                f"{folder.parent}: node {', '.join(sorted(missing))} of 0 to {count - 1} wrote "
                "nothing there that is seen here; give a run.dir on a disk that all nodes share"
            )
        time.sleep(0.1)
    return [json.loads((folder / str(other)).read_text()) for other in range(count)]


def check_versions(nodes: list[dict[str, str]]) -> None:
    first, *others = nodes
    for other in others:
        for name in first:
            if name != "node" and other.get(name) != first[name]:
                raise LaunchError(
                    f"{name} is {first[name]} on {first['node']} and {other.get(name)} on "
                    f"{other['node']}; give all nodes the same environment"
                )


if __name__ == "__main__":
    main()
