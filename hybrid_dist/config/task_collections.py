"""Collections of tasks: a YAML file whose key `tasks` has their specs, in place of a spec."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hybrid_dist.config.strict_yaml import check_keys, read_yaml
from hybrid_dist.config.task_names import LABEL, check_labels, explicit_label, label_of, yaml_file
from hybrid_dist.config.variables import substituted
from hybrid_dist.errors import UserError, short

TASKS = "tasks"
"""The key that makes a YAML file a collection."""
KEYS = ("name", TASKS)
T = TypeVar("T")
_LISTED_IN: dict[str, str] = {}
"""The collection that each spec was read from in this process, for messages: a config holds the
specs alone."""


def expanded(specs: Sequence[str]) -> tuple[str, ...]:
    """The specs of tasks, with those of a collection in its place."""
    return tuple(one for spec in specs for one in collection_of(spec) or (spec,))


def of_each(specs: Sequence[str], use: Callable[[str], T]) -> tuple[T, ...]:
    """What `use` makes of each expanded spec; its error names the collection that has the spec."""
    results = []
    for spec in expanded(specs):
        try:
            results.append(use(spec))
        except UserError as error:
            if spec not in _LISTED_IN:
                raise
            raise UserError(f"{_LISTED_IN[spec]}: {error}") from None
    return tuple(results)


def collection_of(spec: str) -> tuple[str, ...]:
    """The specs of the collection that a spec names; none if it names something else."""
    label, path = yaml_file(spec)
    tree = _tree(path)
    if not _is_collection(tree):
        return ()
    file = Path(path)
    if label:
        raise UserError(f"task {spec!r}: {path} has labels of its own; leave {label} out")
    check_keys(tree, KEYS, str(file))
    if not isinstance(tree.get("name", ""), str):
        raise UserError(f"{file}: name: expected a text, found {short(tree['name'])}")
    specs = tuple(_specs(substituted(tree[TASKS], file), file))
    check_labels(specs, f"{file}: tasks")
    for one in specs:
        if _is_collection(_tree(yaml_file(one)[1])):
            raise UserError(f"{file}: tasks: {one} is a collection too; list its tasks here")
    _LISTED_IN.update(dict.fromkeys(specs, path))
    return specs


def _is_collection(tree: Any) -> bool:
    return isinstance(tree, dict) and TASKS in tree


def _tree(path: str) -> Any:
    """The content of a YAML file; None if the path is no such file."""
    file = Path(path)
    if not path or "\0" in path or not file.is_file():
        return None
    return read_yaml(file)


def _specs(tasks: Any, file: Path) -> list[str]:
    """The specs of a list, or of a mapping from labels to specs."""
    entries = list(tasks.items()) if isinstance(tasks, dict) else None
    if entries is None and isinstance(tasks, list):
        entries = [("", spec) for spec in tasks]
    if not entries:
        raise UserError(
            f"{file}: tasks: expected lines such as `xquad_r: xquad_r:data/xquad-r`, found "
            f"{short(tasks)}"
        )
    specs = []
    for label, spec in entries:
        if not isinstance(spec, str) or not (":" in spec or yaml_file(spec)[1]):
            raise UserError(f"{file}: tasks: expected NAME:PATH, found {short(spec)}")
        if label and not (isinstance(label, str) and LABEL.fullmatch(label)):
            raise UserError(
                f"{file}: tasks: {short(label)} is no label; give letters, digits, -, _ and ."
            )
        if label and explicit_label(spec)[0]:
            raise UserError(f"{file}: tasks: {label}: {spec} has a second label; leave it out")
        specs.append(spec if not label or label == label_of(spec) else f"{label}={spec}")
    return specs
