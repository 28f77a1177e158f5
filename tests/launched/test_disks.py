"""Full or unwritable disks and damaged files: complete files survive."""

import os
from pathlib import Path

import pytest

from hybrid_dist.training.checkpoint.manifest import latest_step
from tests.support.disks import disk
from tests.support.launch import train
from tests.support.runs import column, ended, options, succeed


@pytest.mark.parametrize("on_failure", ["stop", pytest.param("go_on", marks=pytest.mark.long)])
def test_a_full_disk_costs_no_good_checkpoint(on_failure: str, toy: Path, tmp_path: Path) -> None:
    """Two checkpoints of 0.83 MB and a model of 0.4 fit, and no third checkpoint."""
    changed = {"train__steps": "20", "checkpoint__every": "5", "checkpoint__keep": "9"}
    changed["checkpoint__on_failure"] = on_failure
    with disk(tmp_path / "disk", "size=2400k") as runs:
        done = train(options(toy, runs, "run", **changed))
        message = "step-000015: the checkpoint could not be written"
        assert message in done.output and "No space left" in done.output, done.output
        assert "Traceback" not in done.output
        assert latest_step(runs / "run/checkpoints") == 10
        assert sorted(path.name for path in (runs / "run/checkpoints").glob("step-*")) == [
            "step-000005",
            "step-000010",
        ]
        assert done.code == (2 if on_failure == "stop" else 0)
        if on_failure == "stop":
            assert 15 <= len(column(runs, "run", "step")) < 20, "the step after knows of it"
            assert ended(runs, "run")["kind"] == "disk full"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        pytest.param("24k", "disk/run cannot be written", marks=pytest.mark.long),
        ("200k", "the model could not be written: {runs}/run/model: cannot be written"),
    ],
)
def test_a_disk_that_is_full_without_a_checkpoint_ends_the_run_in_one_message(
    size: str, message: str, toy: Path, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", f"size={size}") as runs:
        done = train(options(toy, runs, "run", train__steps="3"))
        assert done.code == 2
        assert message.format(runs=runs) in done.output and "No space left" in done.output, (
            done.output
        )
        assert "Traceback" not in done.output
        left = [path.name for path in (runs / "run").iterdir()]
        assert not [name for name in left if "model" in name or name.endswith(".part")], left


def test_a_run_folder_that_cannot_be_written_is_refused(toy: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=1m,ro") as runs:
        done = train(options(toy, runs, "run"))
        assert done.code == 2
        assert f"run.dir: {runs}/run cannot be written" in done.output
        assert "Traceback" not in done.output


def test_harmed_checkpoints_are_noticed_and_the_one_before_is_taken(
    toy: Path, tmp_path: Path
) -> None:
    """One lacks a file, one is cut short, in one a bit is flipped: the fourth is whole."""
    changed = {"checkpoint__every": "3", "train__steps": "12", "checkpoint__keep": "4"}
    changed["model__dropout"] = "0.1"
    succeed(train(options(toy, tmp_path, "run", **changed)))
    curve = column(tmp_path, "run", "train/loss").tolist()
    checkpoints = tmp_path / "run/checkpoints"
    (checkpoints / "step-000012/random.json").unlink()
    os.truncate(checkpoints / "step-000009/weights.safetensors", 1000)
    flipped = checkpoints / "step-000006/exp_avg.safetensors"
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 16
    flipped.write_bytes(content)
    done = succeed(train(options(toy, tmp_path, "run", **changed)))
    for step, message in (
        (12, "lacks random.json"),
        (9, "is damaged: weights.safetensors"),
        (6, "is damaged: exp_avg.safetensors"),
    ):
        assert f"step-{step:06d} {message}" in done.output, done.output
    assert "step-000003, step 3" in done.output
    assert column(tmp_path, "run", "train/loss").tolist() == curve
