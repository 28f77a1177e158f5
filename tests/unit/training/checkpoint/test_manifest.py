"""Checks of a checkpoint: no flipped bit, crafted value or wrong path is resumed from."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.training.checkpoint import manifest
from hybrid_dist.training.checkpoint.manager import check_path, damage
from hybrid_dist.training.checkpoint.manifest import Manifest, latest_step, write_latest
from hybrid_dist.training.checkpoint.run_progress import Progress
from tests.support.checkpoints import checkpoints, names
from tests.support.permissions import nobody

STOOD = Progress(20, 0.25, 10, 1, 2, "eval/toy/map.multilingual", True)
FLIPS = 400


def saved(tmp_path: Path, *steps: int) -> list[Path]:
    kept, found = checkpoints(tmp_path, keep=9), []
    for step in steps:
        kept.save(STOOD if step == STOOD.step else Progress(step))
        found.append(tmp_path / "checkpoints" / f"step-{step:06d}")
    return found


def flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def test_no_flipped_bit_of_a_manifest_changes_the_step_of_a_run(tmp_path: Path) -> None:
    messages = list[str]()
    one, two = saved(tmp_path, 10, 20)
    whole = manifest.read(two)
    content = (two / "manifest.json").read_bytes()
    kept = checkpoints(tmp_path, say=messages.append)
    noticed = 0
    for at in random.Random(7).sample(range(8 * len(content)), FLIPS):
        (two / "manifest.json").write_bytes(flipped(content, at))
        try:
            found = kept.find("auto")
        except UserError as refusal:  # its layout's number became another
            assert "another version" in str(refusal)
            continue
        assert found in (one, two)
        noticed += found == one
        assert found == one or manifest.read(two) == whole, content[at // 8 - 9 : at // 8 + 9]
    assert noticed == len(messages) > 0.8 * FLIPS, "the rest only changed white space"


def test_no_flipped_bit_of_latest_sends_a_run_back(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    folder = tmp_path / "checkpoints"
    content = (folder / "latest").read_bytes()
    assert content.startswith(b"step-000020 ")
    for at in range(8 * len(content)):
        (folder / "latest").write_bytes(flipped(content, at))
        assert latest_step(folder) in (None, 20)
        messages = list[str]()
        assert checkpoints(tmp_path, say=messages.append).find("auto") == folder / "step-000020"
        assert bool(messages) == (latest_step(folder) is None)


def test_a_latest_of_layout_2_is_a_name_alone(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    (tmp_path / "checkpoints/latest").write_text("step-000010\n")
    assert latest_step(tmp_path / "checkpoints") == 10


@pytest.mark.parametrize("named", ["../elsewhere/step-000010", "/step-000010", "step-٠٠٠٠١٠"])
def test_a_latest_that_names_what_lies_elsewhere_names_nothing(tmp_path: Path, named: str) -> None:
    saved(tmp_path, 20)
    (tmp_path / "checkpoints/latest").write_text(f"{named}\n")
    assert latest_step(tmp_path / "checkpoints") is None
    assert checkpoints(tmp_path).find("auto") == tmp_path / "checkpoints/step-000020"


def of_layout_2(folder: Path, **changed: Any) -> None:
    """Write a manifest as the version before this one did."""
    content = json.loads((folder / "manifest.json").read_text())
    known = {"step", "best", "best_step", "no_better", "skipped"}
    progress = {key: value for key, value in content["progress"].items() if key in known}
    old = {"layout": 2, "progress": progress | changed, "files": content["files"]}
    (folder / "manifest.json").write_text(json.dumps(old, indent=2) + "\n")


def test_a_checkpoint_of_layout_2_can_be_resumed(tmp_path: Path) -> None:
    [folder] = saved(tmp_path, 20)
    of_layout_2(folder)
    assert damage(folder) is None
    assert checkpoints(tmp_path).load(folder) == Progress(20, 0.25, 10, 1, 2)


CRAFTED: dict[str, dict[str, Any]] = {
    "step is true": {"step": True},
    "step is 20.0": {"step": 20.0},
    "step is '20'": {"step": "20"},
    "step is None": {"step": None},
    "step is -20": {"step": -20},
    "step is 1099511627776": {"step": 2**40},
    "says step 30, and the folder's name another": {"step": 30},
    "best is nan": {"best": float("nan")},
    "best is inf": {"best": float("inf")},
    "best is '0.25'": {"best": "0.25"},
    "best is True": {"best": True},
    "best and best_step do not belong together": {"best_step": None},
    "best_step is 21, of 20 steps": {"best_step": 21},
    "best_step is True, of 20 steps": {"best_step": True},
    "no_better is 21, more than its 20 steps": {"no_better": 21},
    "no_better is -1": {"no_better": -1},
    "skipped is 21, more than its 20 steps": {"skipped": 21},
    "skipped is [2]": {"skipped": [2]},
    "does not say where the run stood": {"of another": 1},
}


@pytest.mark.parametrize(("expected", "changed"), CRAFTED.items(), ids=CRAFTED)
def test_every_field_is_of_its_type_and_within_its_range(
    tmp_path: Path, expected: str, changed: dict[str, Any]
) -> None:
    """In layout 2, where no checksum speaks first."""
    one, two = saved(tmp_path, 10, 20)
    of_layout_2(two, **changed)
    expected = expected.replace("is true", "is True")
    assert expected in str(damage(two))
    assert checkpoints(tmp_path).find("auto") == one
    with pytest.raises(UserError) as refusal:
        checkpoints(tmp_path).load(two)
    assert expected in str(refusal.value)


@pytest.mark.parametrize(
    "progress",
    [
        Progress(20, metric="x"),
        Progress(20, higher_is_better=True),
        Progress(20, metric=3, higher_is_better=True),  # type: ignore[arg-type]
        Progress(20, metric="x", higher_is_better=1),  # type: ignore[arg-type]
    ],
)
def test_the_metric_is_named_with_its_direction(tmp_path: Path, progress: Progress) -> None:
    [folder] = saved(tmp_path, 20)
    manifest.write(folder, Manifest(progress, manifest.read(folder).files))
    assert "is damaged: manifest.json says that metric" in str(damage(folder))


@pytest.mark.parametrize(
    "files",
    [
        {},
        [],
        {"part/model.bin": "0" * 63},
        {"part/model.bin": None},
        {"../step-000010/random.json": "0" * 64},
        {"/etc/passwd": "0" * 64},
        {"": "0" * 64},
    ],
)
def test_a_manifest_lists_files_of_its_own(tmp_path: Path, files: Any) -> None:
    [folder] = saved(tmp_path, 20)
    manifest.write(folder, Manifest(STOOD, files))
    assert damage(folder) == "is damaged: manifest.json does not list its files"


@pytest.mark.parametrize(("layout", "checksum"), [(3, None), (2, "0" * 64), (2, None)])
def test_a_manifest_does_without_its_checksum_in_layout_2_alone(
    tmp_path: Path, layout: int, checksum: str | None
) -> None:
    """The fields of layout 3 under another number, or without what vouches for them."""
    [folder] = saved(tmp_path, 20)
    content = json.loads((folder / "manifest.json").read_text()) | {"layout": layout}
    del content["checksum"]
    if checksum is not None:
        content["checksum"] = checksum
    (folder / "manifest.json").write_text(json.dumps(content))
    assert str(damage(folder)).startswith("is damaged: manifest.json ")


@pytest.mark.parametrize(
    "content", ["[]", "3", "null", '{"layout": 3}', "[" * 100_000, "9" * 5000, "\ufeff{}", ""]
)
def test_what_is_no_manifest_is_no_checkpoint(tmp_path: Path, content: str) -> None:
    one, two = saved(tmp_path, 10, 20)
    (two / "manifest.json").write_text(content)
    assert damage(two) is not None
    assert checkpoints(tmp_path).find("auto") == one


def test_a_manifest_of_another_checkpoint_is_noticed(tmp_path: Path) -> None:
    one, two = saved(tmp_path, 10, 20)
    shutil.copytree(one, two / "copy")  # one inside the other, with a manifest each
    assert damage(two) is None
    shutil.copy(one / "manifest.json", two)
    assert "says step 10, and the folder's name another" in str(damage(two))


def test_a_checkpoint_may_be_called_anything_but_another_step(tmp_path: Path) -> None:
    [folder] = saved(tmp_path, 20)
    for name, fits in (("the best one", True), ("step-000020-copy", True), ("step-000030", False)):
        folder = folder.rename(folder.with_name(name))
        assert (damage(folder) is None) == fits


def test_links_are_followed_and_what_they_lead_to_is_left(tmp_path: Path) -> None:
    """A checkpoint that was moved to another disk, and a link left for it; a link to a file."""
    one, two = saved(tmp_path, 10, 20)
    (tmp_path / "away").mkdir()
    for folder in (one, two):
        folder.rename(tmp_path / "away" / folder.name)
        folder.symlink_to(tmp_path / "away" / folder.name)
    assert checkpoints(tmp_path).find("auto") == two
    best = tmp_path / "best"
    best.symlink_to(one)
    assert checkpoints(tmp_path).find(str(best)) == best
    checkpoints(tmp_path, keep=1).save(Progress(20))
    assert names(tmp_path) == ["latest", "step-000020"]
    assert not two.is_symlink() and damage(two) is None
    assert damage(tmp_path / "away/step-000010") is None, "only the link was removed"
    (two / "manifest.json").rename(tmp_path / "manifest.json")
    (two / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert damage(two) is None
    (tmp_path / "manifest.json").unlink()
    assert "is no whole checkpoint" in str(damage(two))


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A pipe would be waited for without end."""
    one, two, three = saved(tmp_path, 10, 20, 30)
    (two / "random.json").unlink()
    os.mkfifo(two / "random.json")
    assert damage(two) == "lacks random.json"
    (three / "manifest.json").unlink()
    os.mkfifo(three / "manifest.json")
    assert "cannot be read: not a file" in str(damage(three))
    assert checkpoints(tmp_path).find("auto") == one


@pytest.mark.parametrize("closed", ["checkpoints/step-000020/random.json", "checkpoints"])
def test_what_may_not_be_read_is_refused_and_not_passed_over(tmp_path: Path, closed: str) -> None:
    saved(tmp_path, 10, 20)
    for resume in ("auto", str(tmp_path / "checkpoints/step-000020")):
        with (
            nobody(tmp_path / closed),
            pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"),
        ):
            checkpoints(tmp_path).find(resume)


def test_a_path_that_leads_to_something_else_is_refused_with_what_it_is(tmp_path: Path) -> None:
    [folder] = saved(tmp_path, 20)
    check_path(str(folder))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").touch()
    (tmp_path / "empty").mkdir()
    for path, expected in (
        ("nowhere", "is no checkpoint: it is not there"),
        ("no\0where", "is no checkpoint: it is not there"),
        ("checkpoints/step-000020/manifest.json", "is no checkpoint but a file"),
        ("checkpoints/latest/step-000020", "is no checkpoint but a file"),
        ("checkpoints", "but a folder that holds some; give the path of one"),
        (".", "but a folder that holds some; give the path of one"),
        ("model", "set model.name_or_path to it"),
        ("empty", r"it has no manifest.json"),
    ):
        with pytest.raises(UserError) as refusal:
            check_path(str(tmp_path / path))
        assert expected in str(refusal.value), path
        assert str(refusal.value).startswith(f"checkpoint.resume: {tmp_path / path} is no ")


def test_latest_is_whole_or_as_it_was(tmp_path: Path) -> None:
    write_latest(tmp_path, 5)
    write_latest(tmp_path, 1_000_000)
    assert latest_step(tmp_path) == 1_000_000
    assert [file.name for file in tmp_path.iterdir()] == ["latest"]
