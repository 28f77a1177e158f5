"""Free memory: of the machine, or of a job's cgroup."""

from pathlib import Path

import pytest

from hybrid_dist.runtime import host_memory


def test_free_memory_is_that_of_the_narrowest_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2**20 < host_memory.free_memory() < 2**50
    job = tmp_path / "job"
    step = job / "step"
    step.mkdir(parents=True)
    for folder, limit in ((job, "5000"), (step, "max")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("3000\n")
        (folder / "memory.stat").write_text("active_file 1\ninactive_file 700\n")
    monkeypatch.setattr(host_memory, "_cgroups", lambda: [step, job, tmp_path])
    assert host_memory.free_memory() == 5000 - 3000 + 700, "cached files make room"
