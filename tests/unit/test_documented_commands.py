"""Every command line in the README, docs/, configs/ and help texts has options that exist, and
every block of commands is run by a test or says what it needs."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import tyro

from hybrid_dist.cli import COMMANDS
from hybrid_dist.config import flags
from hybrid_dist.errors import UserError
from tests.support import documented_blocks
from tests.support.documented_blocks import NEEDED, NEEDS, PARSED, RUN_BY, SYNOPSIS, Block
from tests.support.launch import ROOT

PAGES = [*documented_blocks.PAGES, *sorted(ROOT.glob("*/*.yaml"))]
BLOCKS = [block for page in documented_blocks.PAGES for block in documented_blocks.blocks(page)]
MODULES = sorted((ROOT / "hybrid_dist").rglob("*.py"))
COMMAND = re.compile(
    r"^ *(?:Example: |&& )?(?:accelerate launch .*-m hybrid_dist\.|hybrid-dist )([a-z]+)\b(.*)",
    re.MULTILINE,
)
BATCH_FILE = re.compile(r"^ *[^`|#\n]*\b(slurm/\w+\.(?:sbatch|sh))(?: +([^\n|]*))?$", re.MULTILINE)
IN_BATCH_FILES = {
    "slurm/command.sbatch": "",
    "slurm/doctor.sbatch": "doctor ",
    "slurm/evaluate.sbatch": "evaluate ",
    "slurm/train.sbatch": "prefetch ",
    "slurm/pipeline.sh": "prefetch ",
}
"""What a batch file puts before its arguments; train takes those of prefetch."""
CONFIG_COMMANDS = ("train", "prefetch", "plan", "estimate")


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The name and the words of each command line in a page or docstring."""
    for name, rest in COMMAND.findall(re.sub(r"\\\n\s*", "", text)):
        command, *_ = re.split(r" &&|  #|\s\||\"\"\"", rest)
        if "[" not in command:  # a synopsis
            yield name, shlex.split(command)


def batch_commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The name and the words of the command that each batch file of a block runs."""
    for file, rest in BATCH_FILE.findall(re.sub(r"\\\n\s*", "", block.code)):
        assert (ROOT / file).is_file(), f"{block}: {file}"
        if file in IN_BATCH_FILES:
            name, *words = shlex.split(IN_BATCH_FILES[file] + rest, comments=True)
            yield name, words


def described(pages: list[Path]) -> list[tuple[str, list[str]]]:
    return [command for page in pages for command in commands(page.read_text("utf-8"))]


def parse(name: str, words: list[str]) -> None:
    """Parse a command line as the command does; SystemExit is a line that it rejects."""
    words = words[: words.index("--")] if "--" in words and name == "submit" else words
    options = getattr(import_module(f"hybrid_dist.{COMMANDS[name][0]}"), "Options", None)
    if name in ("launch", "submit") and options is not None:
        own, rest = tyro.cli(options, args=words, return_unknown_args=True)
        flags.load(["--config", str(own.config), *rest], name)
    elif name in CONFIG_COMMANDS:
        rest = words
        if options is not None:
            _, rest = tyro.cli(options, args=words, return_unknown_args=True)
        flags.load(["--config", *rest] if name == "prefetch" else rest, name)
    elif options is not None:
        tyro.cli(options, args=words)


@pytest.mark.parametrize(
    ("name", "words"),
    described([*PAGES, *MODULES]),
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60],
)
def test_a_documented_command_is_accepted(
    name: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_example = "config.yaml" in words  # its commands are given in its own folder
    monkeypatch.chdir(ROOT / "examples/debias-e5" if is_example else ROOT)
    parse(name, words)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_run_or_says_what_it_needs(block: Block) -> None:
    known = (RUN_BY, NEEDS, PARSED, SYNOPSIS)
    assert block.kind in known, f"{block}: no comment above it says which test runs it"
    if block.kind == NEEDS:
        assert block.detail in NEEDED
    if block.kind == RUN_BY:
        test = (ROOT / block.detail).read_text("utf-8")
        names_page = str(block.page.relative_to(ROOT)) in test
        assert names_page or "for page in PAGES for b in blocks(page)" in test


def test_batch_files_take_the_documented_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = [command for block in BLOCKS for command in batch_commands(block)]
    assert {name for name, _ in found} == {"prepare", "doctor", "evaluate", "compare", "prefetch"}
    for name, words in found:
        parse(name, ["configs/demo.yaml" if word == "config.yaml" else word for word in words])


def test_documented_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    pages = [page.read_text("utf-8") for page in documented_blocks.PAGES]
    named = {name for text in pages for name in re.findall(r"`make ([a-z-]+)`", text)}
    named |= {name for block in BLOCKS for name in re.findall(r"^make ([a-z-]+)", block.code)}
    assert {"demo", "docs", "test-slurm"} <= named <= targets


def test_commands_of_each_kind_are_read() -> None:
    names = {name for name, _ in described(PAGES)}
    assert names >= {"toy", "prepare", "train", "watch", "export", "evaluate", "overlap", "compare"}


@pytest.mark.parametrize("line", ["train --optim.learning 1", "export a --to b", "watch --fast r"])
def test_an_option_that_does_not_exist_is_noticed(line: str) -> None:
    name, *words = line.split()
    with pytest.raises((SystemExit, ValueError, UserError)):
        parse(name, words)
