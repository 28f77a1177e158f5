"""Every command line in the README, docs/, configs/ and help texts has options that exist."""

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
from tests.support.launch import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted(ROOT.glob("*/*.yaml")),
]
MODULES = sorted((ROOT / "hybrid_dist").rglob("*.py"))
COMMAND = re.compile(
    r"^ *(?:Example: |&& )?(?:accelerate launch .*-m hybrid_dist\.|hybrid-dist )([a-z]+)\b(.*)",
    re.MULTILINE,
)
CONFIG_COMMANDS = ("train", "prefetch", "plan", "estimate")


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The name and the words of each command line in a page or docstring."""
    for name, rest in COMMAND.findall(re.sub(r"\\\n\s*", "", text)):
        command, *_ = re.split(r" &&|  #|\s\||\"\"\"", rest)
        if "[" not in command:  # a synopsis
            yield name, shlex.split(command)


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


def test_commands_of_each_kind_are_read() -> None:
    names = {name for name, _ in described(PAGES)}
    assert names >= {"toy", "prepare", "train", "watch", "export", "evaluate", "overlap", "compare"}


@pytest.mark.parametrize("line", ["train --optim.learning 1", "export a --to b", "watch --fast r"])
def test_an_option_that_does_not_exist_is_noticed(line: str) -> None:
    name, *words = line.split()
    with pytest.raises((SystemExit, ValueError, UserError)):
        parse(name, words)
