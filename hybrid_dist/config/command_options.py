"""Options of commands: parsed by tyro, with a help page that fits the terminal.

tyro's own page does not wrap descriptions and breaks lines where docstrings do.
"""

import ast
import inspect
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.text import without_secrets

T = TypeVar("T")
METAVARS: dict[Any, str] = {bool: "true|false", str: "TEXT", int: "N", float: "X", Path: "PATH"}
NAMED = {
    **dict.fromkeys(("model", "tokenize", "teacher", "rescore"), "MODEL"),
    "data": "FILE",
    "languages": "LANGUAGE",
    "passages": "FILE",
    "query": "QUERY",
    "task": "TASK",
}
"""What the values of some options are called, whatever their type."""
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch that is off unless it is given."""
WIDTHS = (60, 100)
"""The narrowest and the widest page."""
LONGEST = 24
"""An option of so many columns has its explanation below it."""
HANGING = re.compile(r" +\S+(?:: |  +)(?:[a-z_]+=)?")
"""What a line of a list begins with."""
INDENT = ("    ",)
_ARG = type(tyro.conf.arg())


def parse(
    options: type[T], args: Sequence[str] | None, program: str, description: str | None = None
) -> T:
    """The options in a command line, by default this program's; prints the help page and exits if
    it is asked for."""
    args = sys.argv[1:] if args is None else args
    check_secrets(args, program)
    show_help(options, args, program, description or inspect.getdoc(options) or "")
    return tyro.cli(options, args=args, prog=program, console_outputs=is_first_rank())


def parse_known(options: type[T], args: Sequence[str], program: str) -> tuple[T, list[str]]:
    """The same, and the words that are no options of this command."""
    check_secrets(args, program)
    show_help(options, args, program, inspect.getdoc(options) or "")
    return tyro.cli(options, args=args, prog=program, return_unknown_args=True)


def check_secrets(args: Sequence[str], program: str) -> None:
    """Refuse secrets in a command line, which logs and records keep, without showing them."""
    for number, word in enumerate(args, 1):
        if without_secrets(word) != word:
            with report_errors(program):
                raise UserError(
                    f"word {number} of the options holds a token, or a password in a URL, and what "
                    "is recorded of a run has its command line; log in with `hf auth login`, or "
                    "set HF_TOKEN"
                )


def is_first_rank() -> bool:
    """Whether this process speaks for all of a launcher's."""
    return os.environ.get("RANK", "0") == "0"


def show_help(
    options: type[Any],
    args: Sequence[str],
    program: str,
    description: str,
    defaults: object | None = None,
) -> None:
    """Print the help page and exit, if the command line asks for it; see `help_page`."""
    if {"-h", "--help"} & set(args):
        if is_first_rank():
            print(help_page(options, program, description, defaults))
        sys.exit(0)


def help_page(
    options: type[Any], program: str, description: str, defaults: object | None = None
) -> str:
    """Usage, description, options and examples, as wide as the terminal.

    `defaults`: the values that hold unless an option is given; by default those of the class.
    """
    width = min(max(shutil.get_terminal_size().columns, WIDTHS[0]), WIDTHS[1])
    sections = option_sections(options, defaults)
    sections[-1].rows.append(OptionRow("--help", "Show this page."))
    rows = [row for section in sections for row in section.rows]
    needed = "".join(
        f"{row.name} " if row.is_needed else f"[{row.name}] "
        for row in rows
        if row.is_needed or row.is_positional
    )
    usage = textwrap.fill(f"usage: {program} {needed}[options]", width, subsequent_indent="      ")
    about, example, examples = description.partition("Example")
    paragraphs = [_wrapped(text, width) for text in about.strip().split("\n\n")]
    column = max(len(row.name) for row in rows if len(row.name) < LONGEST) + 4
    tables = [section.text(column, width) for section in sections if section.rows]
    lines = re.sub(r" \\\n\s+", " ", example + examples).splitlines()
    commands = "\n".join(_broken(line, width) for line in lines)
    return "\n\n".join([usage, *paragraphs, *tables, commands])


@dataclass(frozen=True)
class OptionRow:
    """An option, or a positional argument, and its explanation."""

    name: str
    explanation: str
    is_needed: bool = False

    @property
    def is_positional(self) -> bool:
        return not self.name.startswith("-")

    def text(self, column: int, width: int) -> str:
        start = f"  {self.name}"
        lines = textwrap.wrap(self.explanation, width - column, break_on_hyphens=False)
        if len(start) > column - 2:
            lines = ["", *lines]
        return "\n".join(
            [f"{start:<{column}}{lines[0]}".rstrip(), *(" " * column + line for line in lines[1:])]
        )


@dataclass(frozen=True)
class OptionSection:
    """Options whose names begin alike."""

    name: str
    rows: list[OptionRow]

    def text(self, column: int, width: int) -> str:
        rows = [row.text(column, width) for row in self.rows]
        return "\n".join([f"{self.name}:", *rows] if self.name else rows)


def option_sections(
    options: type[Any], defaults: object | None, prefix: str = ""
) -> list[OptionSection]:
    """Positional arguments, the class's own options, those of classes that it extends; then a
    section for each of its values that has options itself."""
    hints, texts = get_type_hints(options, include_extras=True), docstrings(options)
    rows, sections = list[OptionRow](), list[OptionSection]()
    for field in sorted(
        fields(options), key=lambda field: field.name not in options.__annotations__
    ):
        given = field.default if defaults is None else getattr(defaults, field.name)
        if is_dataclass(given):
            sections += option_sections(type(given), given, f"{prefix}{field.name}.")
        else:
            rows.append(_row(field, hints[field.name], texts.get(field.name, ""), given, prefix))
    rows.sort(key=lambda row: not row.is_positional)
    return [OptionSection(prefix.removesuffix("."), rows), *sections]


def _row(field: Field[Any], hint: Any, text: str, default: Any, prefix: str) -> OptionRow:
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    confs: list[Any] = [mark for mark in marks if isinstance(mark, _ARG)]
    given = next((conf.metavar for conf in confs if conf.metavar), None)
    name = next((conf.name for conf in confs if conf.name), None) or field.name
    is_needed = default is MISSING and field.default_factory is MISSING
    explanation = text + _default(default, text)
    if tyro.conf.Positional in marks:
        several = get_origin(kind) is tuple
        shown = f"{name.upper().removesuffix('S')} ..." if several else name.upper()
        return OptionRow(given or shown, explanation, is_needed)
    shown = f"--{prefix}{name}" if prefix else f"--{name.replace('_', '-')}"
    if kind is not bool or prefix:
        shown += f" {given or _metavar(kind, NAMED.get(field.name))}"
    return OptionRow(shown, explanation, is_needed)


def _metavar(kind: Any, name: str | None) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _metavar(inner[0], name)
    if origin in (Union, UnionType):
        kinds = (_metavar(each, name) for each in inner if each is not NoneType)
        return "|".join(dict.fromkeys(kinds))
    if origin is tuple:
        return f"{_metavar(inner[0], name)} ..."
    if origin is dict:
        return f"{_metavar(inner[0], name)} {_metavar(inner[1], None)} ..."
    if origin is Literal:
        return "|".join(map(str, inner))
    return name if name and kind in (str, Path) else METAVARS.get(kind, "TEXT")


def _default(value: Any, text: str) -> str:
    """What holds unless the option is given, where its text does not say so."""
    is_off = value is None or value is False or value == () or value == ""
    if value is MISSING or is_off or value == {} or "by default" in text.lower():
        return ""
    if isinstance(value, tuple | list):
        shown = " ".join(map(str, value))
    else:
        shown = f"{value:g}" if isinstance(value, float) else str(value).replace("True", "true")
    return f" Default: {repr(shown) if shown != shown.strip() else shown}."


def docstrings(options: type[Any]) -> dict[str, str]:
    """The text below each field, of a class and those that it extends."""
    texts: dict[str, str] = {}
    for cls in filter(is_dataclass, reversed(options.__mro__)):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, below in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                name, value = ast.unparse(field.target), ast.literal_eval(below.value)
                texts[name] = " ".join(str(value).split())
    return texts


def _wrapped(text: str, width: int) -> str:
    """A paragraph, filled; indented lines stay lines, with what is too long under their text."""
    lines = text.splitlines()
    if not any(line.startswith(" ") for line in lines):
        return textwrap.fill(" ".join(text.split()), width, break_on_hyphens=False)
    return "\n".join(
        textwrap.fill(
            line,
            width,
            subsequent_indent=" " * len((HANGING.match(line) or INDENT)[0]),
            break_on_hyphens=False,
        )
        for line in lines
    )


def _broken(command: str, width: int) -> str:
    """A command line, broken before options as a shell takes it."""
    if len(command) <= width:
        return command
    joined = re.sub(r"(?<!\S)(-\S+) (?=[^-])", "\\1\xa0", command)  # an option stays with its value
    lines = textwrap.wrap(joined, width - 2, subsequent_indent="      ", break_on_hyphens=False)
    return " \\\n".join(lines).replace("\xa0", " ")
