"""A validated Config from a tree of values, whatever the tree was read from; and back to YAML."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from hybrid_dist.config.hints import hint, hint_for_task
from hybrid_dist.config.schema import (
    DEV_LOSS,
    LEARNED_TEMPERATURE,
    STORED,
    Batching,
    Config,
    Distill,
    flatten,
)
from hybrid_dist.config.sources import PATH_TAG, SOURCE_TAG, Mix, Source
from hybrid_dist.config.strict_yaml import read_yaml
from hybrid_dist.config.task_collections import expanded
from hybrid_dist.config.task_names import check_labels, split_label
from hybrid_dist.errors import UserError, nearest, short, validation_problem

MAX_PROBLEMS, MAX_CHARACTERS = 10, 200
"""Problems that one message lists, and characters of a key that it shows."""
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 3500
"""Limits of Linux for a file name, and for a path with room for what a run appends to it."""
RENAMED = {
    "batching.language_temperature": "batching.language_alpha",
    "train.hang_minutes": "hang_minutes.step",
}
"""Old keys: rejected in a config with the new name, still read in run folders of old versions."""


def load_config(file: str | Path, overrides: Mapping[str, Any]) -> Config:
    """The run described by a YAML file and overrides; see `Config.load`."""
    tree = dataclasses.asdict(validate(read_yaml(Path(file)), str(file)))
    for key, value in overrides.items():
        _override(tree, key, value)
    config = validate(tree, "overrides")
    check_consistency(config)
    return config


def from_yaml(file: Path) -> Config:
    """The run described by a resolved file, such as the config.yaml of a run folder."""
    tree = read_yaml(file)
    for old, new in RENAMED.items():
        (section, key), (new_section, new_key) = old.split("."), new.split(".")
        if isinstance(tree, dict) and isinstance(part := tree.get(section), dict) and key in part:
            value = part.pop(key)
            if isinstance(target := tree.setdefault(new_section, {}), dict):
                target[new_key] = value
    return validate(tree, str(file))


def to_yaml(config: Config) -> str:
    """The resolved config, as `from_yaml` and `--config` read it."""
    tree = json.loads(json.dumps(dataclasses.asdict(config)))  # tuples become lists
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _override(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, or the keys of a section given as a mapping or as a built section."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping) and value and key not in flatten(Config()):
        for name, inner in value.items():
            _override(tree, f"{key}.{name}", inner)
        return
    *sections, last = key.split(".")
    for name in sections:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    if value != {} or last not in tree:  # an empty section changes nothing
        tree[last] = value


def validate(tree: Any, where: str) -> Config:
    """The config of a tree of values; a UserError lists what is wrong in `where`."""
    if not isinstance(tree, dict):
        raise UserError(
            f"{where}: expected sections such as `model:` and `data:`, found {short(tree)}"
        )
    tree = {key: ({} if value is None else value) for key, value in tree.items()}
    try:
        config = TypeAdapter(Config).validate_python(tree)
    except ValidationError as error:
        raise UserError("\n  ".join([f"{where}:", *problems(error)])) from None
    tasks = expanded(config.eval.tasks)
    if tasks == config.eval.tasks:
        return config
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, tasks=tasks))


def problems(error: ValidationError, section: str = "") -> list[str]:
    """What pydantic rejected, one line per key; `section` is the dotted name of what was built."""
    errors = error.errors()
    lines = [_problem(one, section) for one in errors[:MAX_PROBLEMS]]
    if len(errors) > MAX_PROBLEMS:
        lines.append(f"and {len(errors) - MAX_PROBLEMS} more")
    return lines


def _problem(error: Any, section: str) -> str:
    if section:
        error = error | {"loc": (*section.split("."), *error["loc"])}
    place = tuple(part for part in error["loc"] if part not in (PATH_TAG, SOURCE_TAG))
    error = error | {"loc": place}
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        if place[:2] == ("data", "train") and len(place) > 2:
            return _unknown_in_source(place)
        path = ".".join(map(str, error["loc"]))[:MAX_CHARACTERS]
        if path in RENAMED:
            return f"{path}: is called {RENAMED[path]} now"
        return f"{path}: unknown key{hint(path) or ' (--help lists them all)'}"
    if error["type"] == "tuple_type":
        error = error | {"msg": "expected a list (one `- item` a line)"}
    return validation_problem(error)


def _unknown_in_source(place: tuple[int | str, ...]) -> str:
    """An unknown key of an entry of data.train."""
    keys = [field.name for field in dataclasses.fields(Source)]
    keys += [f"mix.{field.name}" for field in dataclasses.fields(Mix)]
    given = ".".join(part for part in place[2:] if isinstance(part, str))[:MAX_CHARACTERS]
    near = nearest(given, keys) or f" (an entry has {', '.join(keys)})"
    return f"{'.'.join(map(str, place))[:MAX_CHARACTERS]}: unknown key{near}"


def check_consistency(config: Config) -> None:
    """Reject valid values that cannot be combined, or that nothing can be trained with."""
    _check_mixes(config.batching, config.data.train)
    if not config.data.train:
        raise UserError(
            "data.train: no pair file is given; add one, as in --data.train toy/train.jsonl"
        )
    _check_path("run.dir", config.run.dir)
    _check_path("run.name", name := config.run.name)
    outside = Path(name).is_absolute() or ".." in Path(name).parts or not name.strip("./ ")
    if outside or not name.isprintable():
        raise UserError(f"run.name: {name!r} names no folder inside run.dir")
    if not config.model.name_or_path:
        raise UserError("model.name_or_path: is empty; give a folder or a name on the hub")
    lowest, highest = LEARNED_TEMPERATURE
    if config.loss.learn_temperature and not lowest <= config.loss.temperature <= highest:
        raise UserError(
            f"loss.temperature: {config.loss.temperature} cannot be learned from; "
            f"start between {lowest} and {highest}"
        )
    _check_loss(config)
    _check_teaching(config)
    _check_chunks(config)
    _check_checkpoints(config)
    _check_evaluation(config)


def _check_checkpoints(config: Config) -> None:
    """Reject milestones at which no checkpoint is written."""
    every, kept = config.checkpoint.every, config.checkpoint.keep_every
    if kept and (not every or kept % every):
        raise UserError(
            f"checkpoint.keep_every: {kept} is no multiple of checkpoint.every, {every}; give one, "
            "or 0 to keep no milestones"
        )


def _check_chunks(config: Config) -> None:
    """Reject chunks that are cut in two ways, or that a single pair may exceed."""
    tokens, size = config.train.chunk_tokens, config.train.chunk_size
    if not tokens:
        return
    if size != 0:
        raise UserError(
            f"train.chunk_tokens: is {tokens}, but train.chunk_size is {size}; give one of them "
            "(0 leaves one out)"
        )
    longest = longest_pair(config)
    if tokens < longest:
        parts = [f"its {config.batching.hard_negatives} hard negatives"]
        parts = parts if config.batching.hard_negatives else []
        parts += ["its translations"] if config.align.weight else []
        beside = f" with {' and '.join(parts)}" if parts else ""
        raise UserError(
            f"train.chunk_tokens: {tokens} is less than a pair{beside} may have, {longest} "
            "(model.max_query_tokens and model.max_passage_tokens); give that or more"
        )


def longest_pair(config: Config) -> int:
    """The most tokens of a pair with its hard negatives and translations."""
    queries, passages = 1, 1 + config.batching.hard_negatives
    if config.align.weight:
        queries += config.align.of != "passages"
        passages += config.align.of != "queries"
    return queries * config.model.max_query_tokens + passages * config.model.max_passage_tokens


def _check_loss(config: Config) -> None:
    loss, batching = config.loss, config.batching
    for key in ("query_negatives", "passage_negatives"):
        if loss.symmetric and getattr(loss, key):
            raise UserError(
                f"loss.{key}: cannot be combined with loss.symmetric, which scores passages "
                "against queries in a softmax of their own; set one of them to false"
            )
    for key in ("margin", "margin_kind", "margin_scores"):
        value, default = getattr(batching, key), getattr(Batching(), key)
        if batching.false_negatives != "margin" and value != default:
            raise UserError(
                f"batching.{key}: is {value}, but batching.false_negatives is "
                f"{batching.false_negatives}; set that to margin, or batching.{key} to {default}"
            )
    if len(set(loss.dims)) < len(loss.dims):
        raise UserError(f"loss.dims: {list(loss.dims)} names a number of dimensions twice")
    if len(loss.dim_weights) not in (0, len(loss.dims)):
        raise UserError(
            f"loss.dim_weights: has {len(loss.dim_weights)} weights for the {len(loss.dims)} "
            "numbers of loss.dims; give one for each, or none"
        )


def _check_teaching(config: Config) -> None:
    align, distill = config.align, config.distill
    if align.weight and align.kind == "jsd" and align.of != "queries":
        raise UserError(
            f"align.of: is {align.of}, but align.kind jsd compares rankings of passages, which "
            "only queries have; set align.of to queries, or align.kind to cosine"
        )
    if distill.teacher == STORED:
        for key in ("query_prefix", "passage_prefix"):
            if getattr(distill, key) is not None:
                raise UserError(
                    f"distill.{key}: stored vectors were made with their prefixes; leave it out, "
                    "and give `prepare --teacher` the prefix"
                )
    if distill.teacher:
        return
    for key in ("weight", "kind", "temperature", "query_prefix", "passage_prefix"):
        value = getattr(distill, key)
        if value != getattr(Distill(), key):
            raise UserError(
                f"distill.{key}: is {value}, but there is no teacher; give distill.teacher, or "
                f"leave distill.{key} out"
            )
    if config.batching.margin_scores == "teacher":
        raise UserError(
            "batching.margin_scores: is teacher, but there is none; give distill.teacher, or set "
            "batching.margin_scores to own"
        )


def _check_mixes(batching: Batching, train: tuple[str | Source, ...]) -> None:
    """Reject weights of kinds or of sources that leave nothing to draw."""
    sources = [(at, entry) for at, entry in enumerate(train) if isinstance(entry, Source)]
    mixes = {"batching.mix": batching.mix, "batching.mix_end": batching.mix_end.weights}
    mixes |= {f"data.train.{at}.mix": source.mix for at, source in sources}
    for key, mix in mixes.items():
        if mix is not None and mix == Mix():
            raise UserError(
                f"{key}: all weights are 0, so no batch can be drawn; "
                "give monolingual, cross_lingual or multilingual a weight above 0"
            )
    if sources and len(sources) == len(train) and all(one.weight == 0 for _, one in sources):
        raise UserError(
            "data.train: all weights are 0, so no batch can be drawn; give an entry a weight "
            "above 0"
        )


def _check_evaluation(config: Config) -> None:
    if config.eval.every and not (config.eval.tasks or config.data.dev):
        raise UserError(
            f"eval.every: is {config.eval.every}, but there is nothing to evaluate; "
            "give eval.tasks or data.dev, or set eval.every to 0"
        )
    if config.eval.metric == DEV_LOSS and not config.data.dev:
        raise UserError(
            f"eval.metric: is {DEV_LOSS}, but there are no held-out pairs; give data.dev"
        )
    if config.eval.patience and not config.eval.every:
        raise UserError(
            f"eval.patience: is {config.eval.patience}, but nothing is evaluated during training; "
            "give eval.every, or set eval.patience to 0"
        )
    check_labels(config.eval.tasks, "eval.tasks")
    for task in config.eval.tasks:
        name, colon, path = split_label(task)[1].partition(":")
        if not (name and colon and path):
            raise UserError(
                f"eval.tasks: {task!r} is not NAME:PATH, as in toy:data/toy{hint_for_task(task)}"
            )


def _check_path(key: str, path: str) -> None:
    """Reject a path that no file system can hold, before anything is read."""
    part = max(Path(path).parts, key=lambda part: len(os.fsencode(part)), default="")
    name_bytes, path_bytes = len(os.fsencode(part)), len(os.fsencode(path))
    if name_bytes > MAX_NAME_BYTES:
        problem = f"{short(part)} as a name takes {name_bytes:,} bytes, more than {MAX_NAME_BYTES}"
    elif path_bytes > MAX_PATH_BYTES:
        problem = (
            f"{short(path)} as a path takes {path_bytes:,} bytes, more than {MAX_PATH_BYTES:,}"
        )
    else:
        return
    raise UserError(f"{key}: {problem}; choose a shorter one")
