"""Checkpoints: which are kept, which is found, what a damaged or unwritten one does."""

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hybrid_dist.errors import UserError
from hybrid_dist.training.checkpoint.manager import damage
from hybrid_dist.training.checkpoint.manifest import latest_step
from hybrid_dist.training.checkpoint.random_state import random_state, set_random_state
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.checkpoint.state import Write
from hybrid_dist.training.checkpoint.strategy_state import TorchState
from hybrid_dist.training.checkpoint.zero import scaler_numbers, set_scaler_numbers
from tests.support.checkpoints import Files, checkpoints, names


class FullDisk(Files):
    """A disk on which nothing fits any more after the first file."""

    def save(self, folder: Path, write: Write, copied: bool = False) -> None:
        super().save(folder, write)

        def fail() -> None:
            raise OSError(28, "No space left on device")

        write(fail)
        write(lambda: pytest.fail("was written after a failure"))


def test_the_latest_checkpoints_are_kept_and_the_last_is_found(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    assert kept.find("auto") is None
    for saved, step in enumerate((999_999, 1_000_000, 1_000_010), 1):
        kept.save(Progress(step=step, best=0.5, best_step=3))
        assert kept.find("auto") == tmp_path / "checkpoints" / f"step-{step}"
        assert len(names(tmp_path)) == min(saved, 2) + 1
    assert names(tmp_path) == ["latest", "step-1000000", "step-1000010"]
    found = kept.find("auto")
    assert found == tmp_path / "checkpoints" / "step-1000010"
    assert kept.load(found) == Progress(step=1_000_010, best=0.5, best_step=3)


class Tensors(Files):
    """Saves as the training state does."""

    def save(self, folder: Path, write: Write, copied: bool = False) -> None:
        write(lambda: save_file({"a": torch.ones(3)}, folder / "weights.safetensors"))


def test_every_file_of_a_checkpoint_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    checkpoints(tmp_path, state=Tensors()).save(Progress(step=1))
    (tmp_path / "new").touch()
    files = [file for file in (tmp_path / "checkpoints").rglob("*") if file.is_file()]
    assert len(files) == 3
    assert {file.stat().st_mode for file in files} == {(tmp_path / "new").stat().st_mode}


DAMAGE = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "is no whole checkpoint"),
    "torn manifest": (
        lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:-9]),
        "is no whole checkpoint",
    ),
    "missing file": (lambda f: (f / "part/model.bin").unlink(), "lacks part/model.bin"),
    "flipped bit": (
        lambda f: (f / "part/model.bin").write_bytes(
            bytes([(content := (f / "part/model.bin").read_bytes())[0] ^ 1]) + content[1:]
        ),
        "is damaged: part/model.bin",
    ),
    "cut short": (lambda f: os.truncate(f / "part/model.bin", 999), "is damaged: part/model.bin"),
    "emptied": (lambda f: os.truncate(f / "random.json", 0), "is damaged: random.json"),
}


@pytest.mark.parametrize(("harm", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed_and_the_checkpoint_before_is_taken(
    tmp_path: Path, harm: Any, message: str
) -> None:
    messages = list[str]()
    kept = checkpoints(tmp_path, say=messages.append)
    for step in (1, 2):
        kept.save(Progress(step=step))
    one, two = (tmp_path / "checkpoints" / f"step-00000{step}" for step in (1, 2))
    assert damage(two) is None
    harm(two)
    assert message in str(damage(two))
    assert kept.find("auto") == one
    assert len(messages) == 1
    assert message in messages[0]
    with pytest.raises(UserError, match=f"checkpoint.resume: .*step-000002 {message}"):
        kept.find(str(two))
    assert kept.find(str(one)) == one


def test_a_run_reset_to_an_older_checkpoint_resumes_from_it(tmp_path: Path) -> None:
    """Later checkpoints are of the path that was given up: they neither outlast nor outrank it."""
    kept = checkpoints(tmp_path, keep=3)
    for step in (10, 20, 30):
        kept.save(Progress(step=step))
    again = checkpoints(tmp_path, keep=1)
    found = again.find(str(tmp_path / "checkpoints/step-000010"))
    assert found is not None
    again.load(found)
    again.save(Progress(step=11))
    assert again.find("auto") == tmp_path / "checkpoints/step-000011"
    assert latest_step(tmp_path / "checkpoints") == 11


def test_a_checkpoint_that_was_never_finished_is_not_found(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    kept.save(Progress(step=1))
    one = tmp_path / "checkpoints" / "step-000001"
    one.rename(one.with_name("step-000002.tmp"))
    assert kept.find("auto") is None


@pytest.mark.parametrize("manifest", ['{"files": {}}', '{"files": {}, "layout": 1}'])
def test_a_checkpoint_of_another_layout_is_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=r"was written by another version of hybrid_dist"):
        checkpoints(tmp_path).load(tmp_path)


@pytest.mark.parametrize("torn", ["", "step-", "step-00000", "\0\0\0\0", "elsewhere"])
def test_a_torn_latest_leaves_the_last_whole_checkpoint(tmp_path: Path, torn: str) -> None:
    kept = checkpoints(tmp_path)
    for step in (1, 2):
        kept.save(Progress(step=step))
    (tmp_path / "checkpoints/latest").write_text(torn)
    assert latest_step(tmp_path / "checkpoints") is None
    assert kept.find("auto") == tmp_path / "checkpoints/step-000002"


def test_all_of_it_is_on_the_disk_before_latest_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which a loss of power could not leave `latest` naming what is not there."""
    done: list[str] = []
    to_disk, rename, replace = os.fsync, Path.rename, Path.replace

    def fsync(handle: int) -> None:
        to_disk(handle)
        done.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink().relative_to(tmp_path)}")

    def moved(move: Any) -> Any:
        def spied(path: Path, target: Path) -> Path:
            done.append(f"to {target.relative_to(tmp_path)}")
            return move(path, target)

        return spied

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", moved(rename))
    monkeypatch.setattr(Path, "replace", moved(replace))
    checkpoints(tmp_path).save(Progress(step=1))
    draft = "fsync checkpoints/step-000001.tmp"
    assert sorted(done[:3]) == [f"{draft}/part", f"{draft}/part/model.bin", f"{draft}/random.json"]
    named = [re.sub(r"/\.([^/]+)\.\w{8}\.part", r"/draft of \1", each) for each in done[3:]]
    assert named == [
        f"{draft}/draft of manifest.json",
        "to checkpoints/step-000001.tmp/manifest.json",
        draft,
        "to checkpoints/step-000001",
        "fsync checkpoints",
        "fsync checkpoints/draft of latest",
        "to checkpoints/latest",
        "fsync checkpoints",
    ]


def test_the_checkpoint_of_the_best_step_outlives_the_latest(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path, keep=1)
    for step, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        kept.save(Progress(step=step, best_step=best))
    assert names(tmp_path) == ["latest", "step-000002", "step-000004"]
    kept.save(Progress(step=5, best_step=5))
    assert names(tmp_path) == ["latest", "step-000005"]


def test_a_full_disk_leaves_the_last_good_checkpoint_and_stops(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(Progress(step=1))
    with pytest.raises(UserError) as refusal:
        checkpoints(tmp_path, state=FullDisk()).save(Progress(step=2))
    for message in ("No space left on device", "last good one is", "checkpoints/step-000001"):
        assert message in str(refusal.value)
    assert names(tmp_path) == ["latest", "step-000001"]
    assert checkpoints(tmp_path).find("auto") == tmp_path / "checkpoints/step-000001"


def test_a_full_disk_is_reported_and_the_run_continues_if_allowed(tmp_path: Path) -> None:
    messages = list[str]()
    full = checkpoints(tmp_path, state=FullDisk(), on_failure="go_on", say=messages.append)
    full.save(Progress(step=2))
    assert len(messages) == 1
    assert "No space left on device" in messages[0] and "there is none before it" in messages[0]
    assert names(tmp_path) == []


def test_the_loss_scale_is_restored() -> None:
    """PyTorch's and DeepSpeed's, through JSON; fp16 itself needs a GPU."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler

    learned, other = (torch.amp.GradScaler("cpu", init_scale=2.0**n) for n in (3, 16))
    states = [TorchState(torch.optim.AdamW([torch.ones(1)]), each) for each in (learned, other)]
    states[1].set_scale(json.loads(json.dumps(states[0].scale())))
    assert other.get_scale() == 8.0
    deep = [DynamicLossScaler(2.0**n, 2.0, 1000, 1, 1, False) for n in (15, 16)]
    deep[0].cur_iter, deep[0].last_overflow_iter = 7, 5
    set_scaler_numbers(deep[1], json.loads(json.dumps(scaler_numbers(deep[0]))))
    assert vars(deep[1]) == vars(deep[0])
    assert deep[1].cur_scale == 2.0**15
    states[1].set_scale(scaler_numbers(deep[0]))  # of another strategy: ignored
    assert other.get_scale() == 8.0
    set_scaler_numbers(deep[1], states[0].scale())
    assert vars(deep[1]) == vars(deep[0])


def test_random_numbers_go_on_where_they_were() -> None:
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), torch.rand(1).item()]

    draw()
    kept = json.loads(json.dumps(random_state(torch.device("cpu"))))
    drawn = draw()
    assert draw() != drawn
    set_random_state(kept, torch.device("cpu"))
    assert draw() == drawn
