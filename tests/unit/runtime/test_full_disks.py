"""Every command on a full or unwritable disk: one message, and no file remains."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from hybrid_dist import cli
from tests.support.disks import disk
from tests.support.launch import ROOT, Done, run_cold, run_in

COMMAND = [sys.executable, "-m", "hybrid_dist.cli"]


def command(*words: object, **environment: str) -> Done:
    """hybrid-dist in this process, or in a new one with these environment variables."""
    if environment:
        return run_in(environment, [*COMMAND, *map(str, words)])
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(output), redirect_stderr(output):
        patched.setattr(sys, "argv", ["hybrid-dist", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            assert isinstance(end.code, int)
            return Done(end.code, output.getvalue())
    return Done(0, output.getvalue())


def refused(done: Done, place: Path, problem: str = "No space left on device") -> None:
    """One message with the place; where there is no room, with what is needed and what is free."""
    assert done.code == 2, done.output
    assert "Traceback" not in done.output
    (message,) = [line for line in done.output.splitlines() if ": error: " in line]
    assert done.output.endswith(f"{message}\n"), "nothing comes after the message"
    assert f": error: {place}: cannot be written: {problem}" in message, message
    if problem == "No space left on device":
        size = r"([\d.,]+) (bytes|kB|MB|GB)"
        assert re.search(
            rf"\((about|more than) {size} needed, {size} free\); make room", message
        ), message


def words_of(what: str, toy: Path, out: Path) -> list[object]:
    pairs = ["pairs", toy / "train.jsonl", "--out", out]
    overlap = ["overlap", toy / "train.jsonl", "--task", f"pairs:{toy}/test.jsonl", "--drop"]
    evaluate = ["evaluate", "--model", toy / "model", "--task", f"toy:{toy}", "--cache", out]
    return {
        "prepare": ["prepare", *pairs],
        "prepare with tokens": ["prepare", *pairs, "--tokenize", toy / "model"],
        "toy": ["toy", "--out", out],
        "init": ["init", out],
        "overlap, store": [*overlap, out],
        "overlap, file": [*overlap, f"{out}.jsonl"],
        "overlap, packed": [*overlap, f"{out}.jsonl.gz"],
        "evaluate": [*evaluate, "--out", toy.parent / "results"],
    }[what]


SIZES = {
    "prepare": ("8k", "60k", "300k"),
    "prepare with tokens": ("300k",),
    "toy": ("8k", "200k"),
    "init": ("8k", "96k"),
    "overlap, store": ("60k",),
    "overlap, file": ("40k",),
    "overlap, packed": ("12k",),
    "evaluate": ("4k",),
}
"""Disks on which each fails at its beginning, in its middle or near its end."""


@pytest.mark.parametrize(
    ("what", "size"), [(what, size) for what, sizes in SIZES.items() for size in sizes]
)
def test_a_full_disk_is_one_message_and_no_file(
    what: str, size: str, model: Path, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", f"size={size}") as folder:
        words = words_of(what, model, folder / "new" / "out")
        place = Path(str(words[-1])) if what.startswith("overlap") else folder / "new" / "out"
        done = command(*words)
        refused(done, place)
        if what != "evaluate":  # whose whole blocks are for the next try
            assert list(folder.iterdir()) == []


@pytest.mark.parametrize("what", SIZES)
def test_a_disk_that_cannot_be_written_is_one_message(
    what: str, model: Path, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", "size=1m,ro") as folder:
        words = words_of(what, model, folder / "out")
        place = Path(str(words[-1])) if what.startswith("overlap") else folder / "out"
        refused(command(*words), place, "Read-only file system")


def test_a_full_temporary_folder_is_named(model: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=100k") as folder:
        words = [model / "train.jsonl", "--task", f"pairs:{model}/test.jsonl"]
        done = command("overlap", *words, TMPDIR=str(folder))
        refused(done, folder)
        assert "set TMPDIR to a folder on another disk" in done.output
        assert [path for path in folder.rglob("*") if "hybrid_dist" in path.name] == []


def test_a_full_cache_is_named(model: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=100k") as folder:
        data = ["--data.train", str(model / "train.jsonl"), "--model.name_or_path", model / "model"]
        config = ["--config", ROOT / "configs/demo.yaml"]
        done = command("plan", *config, *data, "--data.dev=[]", "--data.cache_dir", folder)
        refused(done, folder)
        assert "set data.cache_dir to a folder on another disk" in done.output
        assert list(folder.iterdir()) == []


def test_used_up_inodes_are_named(model: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=9m,nr_inodes=6") as folder:
        done = command(*words_of("prepare", model, folder / "out"))
        refused(done, folder / "out", "No space left on device (about ")
        assert "no more files can be created there because its inodes are used up" in done.output


def test_the_largest_file_that_a_shell_allows_is_named(model: Path, tmp_path: Path) -> None:
    words = " ".join(f"'{word}'" for word in words_of("prepare", model, tmp_path / "out"))
    done = run_cold(["bash", "-c", f"ulimit -f 20; exec {' '.join(COMMAND)} {words}"])
    refused(done, tmp_path / "out", "File too large")
    assert "see ulimit -f" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [("prepare", "pairs", "{toy}/train.jsonl", "--out"), ("toy", "--out"), ("init",)],
    ids=lambda words: words[0],
)
def test_a_name_that_is_too_long_is_one_message(
    words: Sequence[str], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / ("a" * 300)
    done = command(*[word.format(toy=model) for word in words], out)
    assert done.code == 2
    assert re.search(rf": error: {out}.*: File name too long\n$", done.output), done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_standard_output_may_be_full_or_closed(buffered: str, model: Path, tmp_path: Path) -> None:
    words = [*COMMAND, "prepare", "--describe", str(model.parent / "store"), "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
    command(*words_of("prepare", model, model.parent / "store"))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    message = "hybrid-dist prepare: error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, message)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + 13, "")


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy data, its model with weights."""
    import shutil

    from transformers import AutoConfig, AutoModel

    folder = tmp_path_factory.mktemp("data") / "toy"
    shutil.copytree(toy, folder)
    AutoModel.from_config(AutoConfig.from_pretrained(folder / "model")).save_pretrained(
        folder / "model"
    )
    return folder
