"""What the runner decides: shares of a machine, states, reasons; and what it measures."""

import json
import os
import shlex
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hybrid_dist.config.flags import load
from hybrid_dist.errors import UserError
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.runtime.templates import copy_templates
from hybrid_dist.studies.machine_shares import share_machine
from hybrid_dist.studies.run_states import (
    RunRecord,
    missing_tasks,
    seconds_of,
    state_of,
    write_record,
)
from hybrid_dist.studies.runner import StudyRunner, reason_in, write_untrained
from hybrid_dist.studies.submission import sbatch_lines, submit, write_sweep
from tests.support.studies import finish, make_grid


def test_jobs_share_processors_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5, 6, 7})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    one, two = share_machine(2)
    assert (one.processors, one.gpus) == ((0, 1, 2, 3), ("0", "1"))
    assert two.environment(2) == {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "2,3"}
    assert [share.gpus for share in share_machine(6)] == [
        ("0",),
        ("1",),
        ("2",),
        ("3",),
        ("0",),
        ("1",),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (alone,) = share_machine(1)
    assert alone.environment(1) == {"OMP_NUM_THREADS": "8"}


def test_the_memory_of_a_process_is_its_peak(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy)
    program = ["timeit", "-n1", "-r1", "b'x' * 300_000_000"]
    run, (share,) = made.runs(made.cells[0])[0], share_machine(1)
    ended = StudyRunner(made, 1, print)._start(run, program, share)
    assert ended.code == 0
    own = 1024 * getrusage(RUSAGE_SELF).ru_maxrss  # Linux starts a child's peak with its parent's
    assert 3e8 < ended.memory < max(6e8, 1.1 * own)


@pytest.mark.parametrize(
    ("output", "code", "reason"),
    [
        ("hybrid_dist.train: error: data.train: no file\n", 2, "data.train: no file"),
        ("Traceback\n  File\nRuntimeError: out of memory\n\n", 1, "RuntimeError: out of memory"),
        ("torch.OutOfMemoryError: CUDA\nlauncher: bye\n", 1, "torch.OutOfMemoryError: CUDA"),
        ("step 3\n", -9, "ended by SIGKILL"),
        ("step 3\nsomething odd\n", 7, "exit code 7: something odd"),
        ("", 1, "exit code 1: no output"),
    ],
)
def test_the_reason_is_the_last_error(output: str, code: int, reason: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(output)
    assert reason_in(tmp_path / "log", code) == reason


def test_states_are_read_from_the_folders(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy, seeds=[1, 2, 3])
    first, second, third = made.runs(made.cells[0])
    finish(made, first, 1.0)
    assert state_of(made, first).state == "finished"
    assert seconds_of([state_of(made, first)]) == 60
    (first.reports("toy") / "report.json").unlink()
    assert state_of(made, first).state == "to evaluate"
    assert state_of(made, second).state == "to run"
    second.folder.mkdir(parents=True)
    (second.folder / "interrupted").write_text('{"step": 1, "reason": "SIGTERM"}')
    assert state_of(made, second).state == "interrupted"
    write_record(made, third, RunRecord(reason="broken"))
    assert (state_of(made, third).state, state_of(made, third).reason) == ("failed", "broken")


def test_a_report_on_other_data_is_not_the_tasks(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy)
    run = made.all_runs()[0]
    finish(made, run, 1.0)
    assert missing_tasks(run) == []
    other = make_grid(tmp_path, toy, tasks=[f"toy:{toy}/test.jsonl"]).all_runs()[0]
    assert missing_tasks(other) == ["toy"]


def test_the_model_before_training_is_a_model_folder(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy, untrained=True)
    (run,) = made.runs(made.cell("untrained"))
    write_untrained(run)
    spec = json.loads((run.folder / "model/hybrid_dist.json").read_text())
    assert spec["query_prefix"] == "Query: " and spec["max_passage_tokens"] == 128


def test_an_array_has_a_line_for_each_run(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an sbatch that prints its arguments into a file."""
    made = make_grid(tmp_path, toy, slurm=["--gpus-per-node=8"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no file slurm/sweep\.sbatch here"):
        submit(made, made.all_runs(), 2)
    copy_templates(tmp_path)
    fake = tmp_path / "sbatch"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho "41;cluster"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lines = submit(made, made.all_runs()[1:], 2)
    folder = made.out / "slurm/1"
    array, report = (tmp_path / "calls").read_text().splitlines()
    assert array.startswith(f"--parsable --array=1-3%2 --output={folder}/logs/%x-%A_%a.out ")
    assert f" --gpus-per-node=8 {folder}/slurm/sweep.sbatch {folder}/base.yaml" in array
    assert report.startswith("--parsable --dependency=afterany:41 ")
    assert f"{folder}/slurm/command.sbatch study" in report
    assert report.endswith(f"--report-only --out {made.out}")
    assert [line.split(":")[0] for line in lines] == ["job 41", "job 41"]
    overrides = (folder / "runs.txt").read_text().splitlines()
    assert len(overrides) == 3
    base = ["--config", str(folder / "base.yaml")]
    configs = [load([*base, *shlex.split(line)], "test") for line in overrides]
    assert configs == [run.config for run in made.all_runs()[1:]]
    submit(made, made.all_runs()[2:], 2)
    assert len((folder / "runs.txt").read_text().splitlines()) == 3, "jobs still wait for it"
    assert len((made.out / "slurm/2/runs.txt").read_text().splitlines()) == 2
    fake.write_text("#!/bin/sh\necho no partition >&2\nexit 1\n")
    with pytest.raises(UserError, match="no partition"):
        submit(made, made.all_runs(), None)
    assert "%" not in sbatch_lines(made, made.all_runs(), None, folder)[0][2]


def test_a_sweep_is_a_grid_over_the_config_files(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy, untrained=True)
    write_sweep(made, made.all_runs(), tmp_path / "sweep.yaml")
    sweep = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert sweep["method"] == "grid"
    files = sweep["parameters"]["config"]["values"]
    trained = [run for run in made.all_runs() if not run.cell.is_untrained]
    assert [load([f"--config={file}"], "test") for file in files] == [r.config for r in trained]


def test_an_untrained_model_from_scratch_is_that_of_the_base_seed(
    toy: Path, tmp_path: Path
) -> None:
    run = make_grid(tmp_path, toy, untrained=True).all_runs()[2]
    assert run.cell.is_untrained
    torch.manual_seed(5)
    write_untrained(run)
    written = load_file(run.folder / "model/model.safetensors")
    torch.manual_seed(run.config.seed)
    model = run.config.model
    expected = build(model, read_config(model)).backbone.state_dict()
    assert all(torch.equal(part, expected[name]) for name, part in written.items())
