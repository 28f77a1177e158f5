"""What tasks are called: `LABEL=NAME:PATH`, or `NAME:PATH`, where the name is the label.

A YAML file may stand for a task, `FILE.yaml` or `LABEL=FILE.yaml`; its own name is the label then.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from hybrid_dist.errors import UserError

LABEL = re.compile(r"\w[\w.-]{0,99}")
"""Labels name folders and keys of records."""
BENCHMARK = "benchmark"
"""The name of a task that is a YAML file."""


def split_label(spec: str) -> tuple[str, str]:
    """The label that a task is given, or an empty one, and the rest: NAME:PATH."""
    label, rest = explicit_label(spec)
    if not is_yaml_file(rest):
        return label, rest
    stem = Path(rest.partition("?")[0]).stem
    return label or (stem if LABEL.fullmatch(stem) else ""), f"{BENCHMARK}:{rest}"


def yaml_file(spec: str) -> tuple[str, str]:
    """The label that a YAML file is given, or an empty one, and its path; empty if it is none."""
    label, rest = explicit_label(spec)
    return (label, rest) if is_yaml_file(rest) else ("", "")


def is_yaml_file(spec: str) -> bool:
    """Whether a task without its label is a YAML file, perhaps with options."""
    path = spec.partition("?")[0]
    return path.endswith((".yaml", ".yml")) and not re.match(r"\w+:", path)


def explicit_label(spec: str) -> tuple[str, str]:
    """The label that is written in a spec, or an empty one, and the rest."""
    label, equals, rest = spec.partition("=")
    if not equals or set(":/?") & set(label):  # the = is in the path or in an option
        return "", spec
    if not LABEL.fullmatch(label):
        raise UserError(
            f"task {spec!r}: {label!r} is no label; give letters, digits, -, _ and ., as in "
            f"mine={rest}"
        )
    return label, rest


def label_of(spec: str) -> str:
    """What a task is called in reports, records and folders."""
    label, rest = split_label(spec)
    return label or rest.partition(":")[0]


def check_labels(specs: Sequence[str], where: str) -> None:
    """Refuse tasks that are called the same. `where`: the flag or key that they come from."""
    seen: dict[str, str] = {}
    for spec in specs:
        label = label_of(spec)
        if label in seen:
            raise UserError(
                f"{where}: {seen[label]} and {spec} are both called {label}; label one of "
                f"them, as in mine={split_label(spec)[1]}"
            )
        seen[label] = spec
