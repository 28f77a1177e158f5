"""A hook of mkdocs: reference pages of the config and of all commands, from what --help shows."""

import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from unittest.mock import patch

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import PlainValidator

from hybrid_dist.cli import COMMANDS, PROGRAM
from hybrid_dist.config import flags
from hybrid_dist.config.command_options import docstrings
from hybrid_dist.config.schema import FREE_ON_RESUME, Config
from hybrid_dist.config.sources import Source
from hybrid_dist.config.values import MOST

CODE = re.compile(r"(`[^`]+`)")
SPECIAL = re.compile(r"([\\*_<>\[\]])")
COLUMNS = "88"
KINDS = {
    bool: "`true` or `false`",
    int: "integer",
    float: "number",
    str: "text",
    NoneType: "unset",
}
LARGEST = {("le", MOST), ("le", 1e6), ("ge", -1e6)}
"""Limits that no use comes near: the page states them once."""
LIMITS = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
CONFIGURATION = """# Configuration

Every key of a run's config, as in a YAML file:

```yaml
batching:
  size: 1024
  mix: {monolingual: 0.7, cross_lingual: 0.3}
```

Each is also an option of `train`, `launch`, `submit`, `plan` and `estimate`, such as
`--batching.size 1024`. Keys that do not exist, and values that are not accepted, are refused
with the nearest name. A run folder's `config.yaml` has the values of all keys.

Where no upper limit is stated, integers go up to 1,000,000,000 and other numbers up to 1,000,000.

*May change*: a run that resumes may have another value. Any other change makes it another run,
and is refused.
"""
COMMAND_PAGE = """# Commands

What `--help` prints. Keys of the [configuration](configuration.md) are options of `train`,
`launch`, `submit`, `plan`, `estimate` and `prefetch`, too.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in (("configuration", configuration()), ("commands", commands())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def configuration() -> str:
    """The page of all keys."""
    parts = [CONFIGURATION, *keys(Config, Config(), "")]
    parts += ["## Entries of data.train\n", *keys(Source, None, "source.")]
    return "\n".join(parts)


def keys(section: type[Any], given: Any, prefix: str) -> Iterator[str]:
    """The keys of a section; then those of the sections in it, each below a heading.

    `given`: a section with the values that hold by default; None: those of the class do.
    """
    hints, texts = get_type_hints(section, include_extras=True), docstrings(section)
    inner = list[str]()
    for field in fields(section):
        if is_dataclass(hints[field.name]):
            inner.append(field.name)
            continue
        value = field.default if given is None else getattr(given, field.name)
        name = prefix + field.name
        notes = [accepted(hints[field.name]), default(value)]
        notes += ["*may change*"] if name.startswith(FREE_ON_RESUME) else []
        yield f"### `{name.removeprefix('source.')}` {{ #{name} }}\n"
        yield f"{' · '.join(filter(None, notes))}\n\n{escaped(texts[field.name])}\n"
    for name in inner:
        yield f"## {prefix}{name}\n"
        yield from keys(hints[name], getattr(given, name), f"{prefix}{name}.")


def accepted(hint: Any) -> str:
    """The values of a type, in words."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        for mark in inner[1:]:
            if isinstance(mark, PlainValidator):
                return accepted(mark.json_schema_input_type)
        return accepted(inner[0]) + limits(inner[1:])
    if kind in (Union, UnionType):
        return " or ".join(map(accepted, inner))
    if kind is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if kind is tuple:
        return f"list, each {accepted(inner[0])}"
    if kind is dict:
        return f"mapping from {accepted(inner[0])} to {accepted(inner[1])}"
    return "a mapping" if is_dataclass(hint) else KINDS[hint]


def limits(marks: Sequence[Any]) -> str:
    """The bounds of a number, from the marks of its type."""
    words = []
    for limit in (limit for mark in marks for limit in getattr(mark, "metadata", ())):
        for name, word in LIMITS.items():
            bound = getattr(limit, name, None)
            if bound is not None and (name, bound) not in LARGEST:
                words.append(f" {word} {bound:,}")
    return "".join(words)


def default(value: Any) -> str:
    if value is MISSING:
        return "needed"
    if value is None:
        return ""
    if isinstance(value, tuple | dict) and not value:
        return "default: none"
    return f"default `{json.dumps(value, ensure_ascii=False)}`"


def escaped(text: str) -> str:
    """A docstring as Markdown: code stays code, nothing else is markup."""
    parts = CODE.split(text)
    parts[::2] = [SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def commands() -> str:
    """The page of all commands."""
    parts = [COMMAND_PAGE]
    for name, (module, summary) in COMMANDS.items():
        parts.append(f"## {name}\n\n{summary[0].upper()}{summary[1:]}.\n")
        parts.append(f"```text\n{help_of(name, module)}\n```\n")
    return "\n".join(parts)


def help_of(name: str, module: str) -> str:
    """What a command prints for --help; of `train`, without the keys of the config."""
    if name == "train":
        return flags.HELP
    printed = io.StringIO()
    with redirect_stdout(printed), patch.dict(os.environ, COLUMNS=COLUMNS), suppress(SystemExit):
        import_module(f"hybrid_dist.{module}").main(["--help"], f"{PROGRAM} {name}")
    return printed.getvalue().strip()
