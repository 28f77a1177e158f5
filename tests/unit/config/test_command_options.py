"""Help pages of commands: what they say of an option, and in which style."""

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro

from hybrid_dist.cli import COMMANDS
from hybrid_dist.config.command_options import Flag, help_page, option_sections, parse, parse_known
from hybrid_dist.config.schema import Config
from hybrid_dist.reporting.evaluation_job import EvaluationOptions


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Options of several commands."""

    model: str
    """The model."""


@dataclass(frozen=True, kw_only=True)
class Options(Shared):
    """Do a thing, in words that are many enough to be longer than a line of a narrow terminal.

      near   what is near
      far    what is further away than everything else that this page could have been about

    Example: hybrid-dist thing runs/a-long-name --kind two --size 4 --threshold 0.5 --model runs/b
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The runs."""
    kind: Literal["one", "two"] = "one"
    """Which one, over
    two lines."""
    threshold: float | None = None
    """Where it begins; by default nowhere."""
    size: int = 0
    """How many."""
    loud: Flag = False
    """Say more."""


PAGE = """\
usage: hybrid-dist thing RUN ... --model MODEL [options]

Do a thing, in words that are many enough to be longer than
a line of a narrow terminal.

  near   what is near
  far    what is further away than everything else that this
         page could have been about

  RUN ...         The runs.
  --kind one|two  Which one, over two lines. Default: one.
  --threshold X   Where it begins; by default nowhere.
  --size N        How many. Default: 0.
  --loud          Say more.
  --model MODEL   The model.
  --help          Show this page.

Example: hybrid-dist thing runs/a-long-name --kind two \\
      --size 4 --threshold 0.5 --model runs/b
"""


def test_a_help_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for ask in (parse, parse_known):
        with pytest.raises(SystemExit) as end:
            ask(Options, ["runs/a", "--help"], "hybrid-dist thing")
        assert not end.value.code and capsys.readouterr().out == PAGE
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        parse(Options, ["-h"], "hybrid-dist thing")
    assert capsys.readouterr().out == ""


def test_the_words_are_by_default_those_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["thing", "a", "--model", "m"])
    assert parse(Options, None, "thing") == Options(runs=(Path("a"),), model="m")


def test_what_the_page_says_is_parsed() -> None:
    words = ["a", "b", "--kind", "two", "--loud", "--model", "m"]
    options = parse(Options, words, "thing")
    assert (options.runs, options.kind, options.loud) == ((Path("a"), Path("b")), "two", True)
    assert parse_known(Options, [*words, "--x.y", "1"], "thing") == (options, ["--x.y", "1"])


def styled() -> list[tuple[str, type[Any], object | None]]:
    """The options of each command."""
    found: list[tuple[str, type[Any], object | None]] = [
        ("evaluate", EvaluationOptions, None),
        ("train", Config, Config()),
    ]
    for name, (module, _) in COMMANDS.items():
        options = getattr(import_module(f"hybrid_dist.{module}"), "Options", None)
        if options is not None:
            found.append((name, options, None))
    return found


@pytest.mark.parametrize(
    ("name", "options", "defaults"), styled(), ids=lambda value: str(value)[:9]
)
def test_explanations_are_sentences(
    name: str, options: type[Any], defaults: object | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for section in option_sections(options, defaults):
        for row in section.rows:
            text = row.explanation
            assert re.fullmatch(r"\S.*\S\.", text), f"{name} {row.name}: {text!r}"
            assert "None" not in row.name
    for columns in ("60", "80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        page = help_page(options, name, "Do it.", defaults)
        assert max(map(len, page.splitlines())) <= min(100, int(columns))
