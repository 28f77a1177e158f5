"""YAML 1.2 scalars (`no` is a language code, 3e-5 a number), and duplicate keys as errors.

Unknown keys are refused by resolve.py.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from hybrid_dist.errors import UserError, nearest, short

MAX_KEYS = 10_000
"""Largest mapping that `<<` merges may produce."""


def read_yaml(file: Path) -> Any:
    """The content of a YAML file; a UserError names the file and the line of a problem."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); name a YAML file") from None
    except RecursionError:
        raise UserError(f"{file}: is not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = str(error).replace('in "<unicode string>", ', "in ")
        raise UserError(f"{file}: is not valid YAML: {problem}") from None


def check_keys(content: Mapping[Any, Any], known: Collection[str], where: str) -> None:
    """Refuse a key that is not known."""
    for key in content:
        if key not in known:
            raise UserError(
                f"{where}: unknown key {short(key)}{nearest(str(key), known)} "
                f"(known: {', '.join(known)})"
            )


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars; keys have to be unique scalars."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[Any] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"a list or a mapping is no key, line {line}")
            if key.value in names:
                raise yaml.YAMLError(f"key {short(key.value)} is given twice, again in line {line}")
            names.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            line, kind = node.start_mark.line + 1, node.tag.rpartition(":")[2]
            raise yaml.YAMLError(f"{short(node.value)} is no {kind}, line {line}") from None

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge `<<` keys up to a limit: nested merges multiply and could fill the memory."""
        super().flatten_mapping(node)
        if len(node.value) > MAX_KEYS:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"merges more than {MAX_KEYS:,} keys, line {line}")


_OLD = (":bool", ":int", ":float", ":timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(_OLD)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9]\d*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)
