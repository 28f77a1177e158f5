"""The cluster that all tests here share, and a folder as `hybrid-dist init` lays it out."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybrid_dist.runtime.templates import copy_templates
from tests.slurm.cluster import Cluster, unavailable
from tests.slurm.jobs import STEPS, TASKS, Site

ROOT = Path(__file__).resolve().parents[2]

SITE = f"""
export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={ROOT}
export LAUNCHER=${{LAUNCHER:-cpu}} PROCESSES_PER_NODE=${{PROCESSES_PER_NODE:-1}} HF_HUB_OFFLINE=1
export SBATCH_PARTITION=${{SBATCH_PARTITION:-low}}
"""
"""slurm/site.env of this site: the batch files themselves are as they are shipped."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    why_not = unavailable()
    if why_not:
        pytest.skip(f"no SLURM cluster: {why_not}")
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder,
        Cluster(Path(folder)) as started,
    ):
        yield started


@pytest.fixture(scope="session")
def site(cluster: Cluster, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A user's folder on the shared disk, with the demo's data."""
    folder = tmp_path_factory.mktemp("user")
    list(copy_templates(folder))
    (folder / "runs/demo").mkdir(parents=True)
    (folder / "runs/demo/toy").symlink_to(toy)
    (folder / "slurm/site.env").write_text(SITE)
    yield Site(cluster, folder)


@pytest.fixture(scope="session")
def whole(site: Site) -> str:
    """The name of a run in one process, without SLURM, that nothing interrupted."""
    site.train_here("whole", **STEPS, **TASKS)
    return "whole"


@pytest.fixture(autouse=True)
def tidy(cluster: Cluster) -> Iterator[None]:
    """No test leaves a job or a process behind."""
    yield
    cluster.clear()
