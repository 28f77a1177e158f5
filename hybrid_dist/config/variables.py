"""Variables of the environment in the texts of a YAML file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybrid_dist.errors import UserError

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
"""`${NAME}` or `${NAME:-default}`."""


def substituted(tree: Any, file: Path) -> Any:
    """The tree with variables of the environment in its texts replaced by their values."""
    if isinstance(tree, str):
        return VARIABLE.sub(lambda match: _value_of(match, file), tree)
    if isinstance(tree, Mapping):
        return {key: substituted(value, file) for key, value in tree.items()}
    if isinstance(tree, list):
        return [substituted(value, file) for value in tree]
    return tree


def _value_of(match: re.Match[str], file: Path) -> str:
    name, default = match.groups()
    value = os.environ.get(name) or default
    if value is None:
        raise UserError(f"{file}: {match[0]}: the environment has no {name}; set it")
    return value
