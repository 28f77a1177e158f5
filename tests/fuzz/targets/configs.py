"""A run's YAML file: rejected with the key or line, or read as the values that it has."""

import dataclasses
import math
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from hybrid_dist.config.flags import load
from hybrid_dist.config.resolve import check_consistency, from_yaml, to_yaml
from hybrid_dist.config.schema import Config, flatten
from hybrid_dist.config.sources import Source
from hybrid_dist.errors import UserError
from tests.fuzz.reference import Doubt
from tests.fuzz.target import Target, Variants
from tests.fuzz.targets.pairs import held_to

FILE = "run.yaml"
SHORT = """\
seed: 1
run:
  dir: runs
  name: hybrid
model:
  name_or_path: toy/model
  init: scratch
  max_query_tokens: 32
  dropout: 0.1
data:
  train: [toy/train.jsonl]
  dev:
    - toy/dev.jsonl
    - "more/*.jsonl"
batching:
  size: 128
  mix:
    monolingual: 0.5
    cross_lingual: 0.5
  language_weights: {de: 2, no: 1.5}
optim:
  lr: 3e-3
train:
  steps: 300
  compile: false
eval:
  every: 100
  tasks: ["toy:toy"]
"""
SOURCES = """\
data:
  train:
    - toy/train.jsonl
    - {path: "more/*.jsonl", weight: 2, query_prefix: "ask: ", mix: {cross_lingual: 1}}
    - path: third.jsonl
      passage_prefix: ""
batching:
  mix: {monolingual: 1}
  mix_end: {monolingual: 0.25, multilingual: 0.75}
"""
EVERY_EIGHTH = 8


class Configs(Target):
    name = "configs"

    def inputs(self) -> Variants:
        whole = to_yaml(Config(data=dataclasses.replace(Config().data, train=("a.jsonl",))))
        return {
            "short": lambda folder: _put(folder, SHORT),
            "sources": lambda folder: _put(folder, SOURCES),
            "whole": lambda folder: _put(folder, whole),
        }

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        file = folder / FILE
        if file.is_file() and file.stat().st_size % EVERY_EIGHTH == 0:
            config = load(["--config", str(file)], "fuzz")  # takes five times as long
        else:
            config = from_yaml(file)
            check_consistency(config)
        return flatten(config)

    def names(self, message: str) -> bool:
        keys = [*flatten(Config()), *(field.name for field in dataclasses.fields(Config))]
        return "data.train." in message or any(f"{key}:" in message for key in keys)

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        text = (folder / FILE).read_bytes().decode("utf-8-sig")
        if re.search(r"!|<<|^%|\?", text, re.MULTILINE):
            return None  # tags, merges and directives are YAML's own matter
        return held_to(lambda: _flat(Config(), yaml.compose(text, yaml.SafeLoader)), value)


def _put(folder: Path, text: str) -> None:
    (folder / FILE).write_text(text, "utf-8")


def _flat(section: Any, node: Any, prefix: str = "") -> dict[str, Any]:
    """The values that a mapping gives the keys of a section, by their dotted names."""
    given: dict[str, Any] = {}
    if _is_null(node) and prefix.count(".") == 1:
        node = yaml.MappingNode("", [])  # `model:` alone
    if not isinstance(node, yaml.MappingNode):
        raise Doubt("a section is no mapping", prefix)
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value in given:
            raise Doubt("a key is none, or comes twice", f"{prefix}{key.value}")
        given[key.value] = value
    kinds, flat = typing.get_type_hints(type(section)), dict[str, Any]()
    for name, kind in kinds.items():
        default = getattr(section, name)
        if dataclasses.is_dataclass(kind):
            # what a file leaves out of batching.mix weighs nothing: a fresh section, no default
            fresh = kind() if name in given else default  # type: ignore[operator]
            if name in given:
                flat |= _flat(fresh, given.pop(name), f"{prefix}{name}.")
            else:
                flat |= flatten(default, f"{prefix}{name}.")
        else:
            flat[prefix + name] = _value(kind, given.pop(name)) if name in given else default
    if given:
        raise Doubt("a key is unknown", sorted(given))
    return flat


def _value(kind: Any, node: Any) -> Any:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        sections = [each for each in inside if dataclasses.is_dataclass(each)]
        if sections and isinstance(node, yaml.MappingNode):
            return _built(sections[0], node)
        return None if _is_null(node) else _value(inside[0], node)
    if origin is tuple:
        if not isinstance(node, yaml.SequenceNode):
            raise Doubt("a value is no list", node.value)
        return tuple(_value(inside[0], one) for one in node.value)
    if origin is dict:
        if not isinstance(node, yaml.MappingNode):
            raise Doubt("a value is no mapping", node.value)
        return {key.value: _value(inside[1], one) for key, one in node.value}
    if not isinstance(node, yaml.ScalarNode):
        raise Doubt("a value has parts", kind)
    return _scalar(kind, node)


def _built(section: Any, node: yaml.MappingNode) -> Any:
    """An entry of data.train, or its mix; a path if it has nothing else."""
    kinds = typing.get_type_hints(section)
    given = {key.value: value for key, value in node.value}
    if unknown := given.keys() - kinds.keys():
        raise Doubt("a key is unknown", sorted(unknown))
    try:
        built = section(**{name: _value(kinds[name], value) for name, value in given.items()})
    except (UserError, TypeError) as error:
        raise Doubt("an entry is none", error) from None
    is_path = isinstance(built, Source) and built == Source(path=built.path)
    return built.path if is_path else built


def _scalar(kind: Any, node: Any) -> Any:
    text = node.value
    if kind is bool:
        if text.lower() in ("true", "yes", "on", "y", "t", "1", "1.0"):
            return True
        if text.lower() in ("false", "no", "off", "n", "f", "0", "0.0", "-0", "-0.0"):
            return False
        raise Doubt("a value is neither true nor false", text)
    if kind in (int, float):
        try:
            number = float(text.removeprefix("+").replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise Doubt("a value is no number", text) from None
        if kind is float:
            return number
        if not math.isfinite(number) or number != math.floor(number):
            raise Doubt("a value is no whole number", text)
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else int(number)
    if _is_null(node):
        raise Doubt("nothing is no text")
    return text


def _is_null(node: Any) -> bool:
    return (
        isinstance(node, yaml.ScalarNode)
        and node.style is None
        and node.value in ("", "~", "null", "Null", "NULL")
    )
