"""A run's configuration: of a YAML file and `--section.key value` flags, and back into a file."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
import yaml
from pydantic import TypeAdapter, ValidationError

from hybrid_dist.config.schema import DEV_LOSS, LEARNED_TEMPERATURE, Config, flatten
from hybrid_dist.config.strict_yaml import read_yaml
from hybrid_dist.errors import UserError, nearest, short, validation_problem

MAX_PROBLEMS, MAX_CHARACTERS = 10, 200
"""Of one message."""
LONGEST_NAME, LONGEST_PATH = 255, 3500
"""Bytes that Linux allows in a file's name; and in its path, with room for what a run adds."""
RENAMED = {"batching.language_temperature": "batching.language_alpha"}
"""Keys that had another name: refused in a config with the new one, read in old run folders."""
HELP = """One run of hybrid_dist.

Start from a file with --config FILE and change single values with --section.key value
(or --section.key=value); the flags below are the keys of the file.

Example: hybrid-dist train --config configs/demo.yaml --run.name first --train.steps 500"""


def load(args: Sequence[str], program: str) -> Config:
    """The run that `--config FILE` and the flags describe, checked as far as it can be."""
    file, flags = _split_config_flag(args)
    for flag in flags:
        if (key := flag.partition("=")[0].removeprefix("--")) in RENAMED:
            raise UserError(f"--{key}: is called --{RENAMED[key]} now")
    base = _checked(read_yaml(file), str(file)) if file else Config()
    config = tyro.cli(
        Config,
        prog=program,
        description=HELP,
        args=_with_python_booleans(flags),
        default=base,
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
        console_outputs=int(os.environ.get("RANK", "0")) == 0,
    )
    config = _checked(dataclasses.asdict(config), "command line")
    _check_possible(config)
    return config


def from_yaml(file: Path) -> Config:
    """The run that a resolved file describes (the config.yaml of a run folder)."""
    tree = read_yaml(file)
    for old, new in RENAMED.items():  # a run that an older version wrote goes on
        section, key = old.split(".")
        if isinstance(tree, dict) and isinstance(part := tree.get(section), dict) and key in part:
            part[new.split(".")[1]] = part.pop(key)
    return _checked(tree, str(file))


def to_yaml(config: Config) -> str:
    """The resolved value, in the form that `from_yaml` and `--config` read."""
    tree = yaml.safe_load(json.dumps(dataclasses.asdict(config)))  # tuples become lists
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _split_config_flag(args: Sequence[str]) -> tuple[Path | None, list[str]]:
    file, flags, rest = None, [], list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--config" or arg.startswith("--config="):
            value = arg.partition("=")[2] or (rest.pop(0) if rest else "")
            if not value or value.startswith("--"):
                raise UserError("--config: expects a YAML file, as in --config configs/demo.yaml")
            if file is not None:
                raise UserError(f"--config: given twice ({file} and {value}); give one file")
            file = Path(value)
        else:
            flags.append(arg)
    return file, flags


def _with_python_booleans(flags: Sequence[str]) -> list[str]:
    """`true` and `false` as files spell them, in the spelling that tyro takes."""
    defaults = flatten(Config())
    names = {f"--{key}" for key, value in defaults.items() if isinstance(value, bool)}
    spelled = {"true": "True", "false": "False"}
    made: list[str] = []
    for flag in flags:
        name, equals, value = flag.partition("=")
        if name in names and equals:
            made.append(f"{name}={spelled.get(value, value)}")
        else:
            made.append(spelled.get(flag, flag) if made and made[-1] in names else flag)
    return made


def _checked(tree: Any, where: str) -> Config:
    if not isinstance(tree, dict):
        raise UserError(
            f"{where}: expected sections such as `model:` and `data:`, found {short(tree)}"
        )
    tree = {key: ({} if value is None else value) for key, value in tree.items()}
    try:
        return TypeAdapter(Config).validate_python(tree)
    except ValidationError as error:
        found = error.errors()
        problems = [_problem(one) for one in found[:MAX_PROBLEMS]]
        if len(found) > MAX_PROBLEMS:
            problems.append(f"and {len(found) - MAX_PROBLEMS} more")
        raise UserError("\n  ".join([f"{where}:", *problems])) from None


def _problem(error: Any) -> str:
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        path = ".".join(map(str, error["loc"]))[:MAX_CHARACTERS]
        if path in RENAMED:
            return f"{path}: is called {RENAMED[path]} now"
        keys = list(flatten(Config()))
        by_last_name = [key for key in keys if key.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
        cure = f"; did you mean '{by_last_name[0]}'?" if by_last_name else nearest(path, keys)
        return f"{path}: unknown key{cure or ' (--help lists them all)'}"
    if error["type"] == "tuple_type":
        error = error | {"msg": "expected a list (one `- item` a line)"}
    return validation_problem(error)


def _check_possible(config: Config) -> None:
    mix = config.batching.mix
    if mix.monolingual + mix.cross_lingual + mix.multilingual == 0:
        raise UserError(
            "batching.mix: all weights are 0, so no batch can be drawn; "
            "give monolingual, cross_lingual or multilingual a weight above 0"
        )
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
            f"eval.patience: is {config.eval.patience}, but nothing is evaluated on the way; "
            "give eval.every, or set eval.patience to 0"
        )
    for task in config.eval.tasks:
        name, colon, path = task.partition(":")
        if not (name and colon and path):
            raise UserError(f"eval.tasks: {task!r} is not NAME:PATH, as in toy:data/toy")


def _check_path(key: str, path: str) -> None:
    """Refuse what no file system can name, before anything is read."""
    part = max(Path(path).parts, key=lambda part: len(os.fsencode(part)), default="")
    size, whole = len(os.fsencode(part)), len(os.fsencode(path))
    if size > LONGEST_NAME or whole > LONGEST_PATH:
        told = f"{short(part)} takes {size:,} bytes as a name, of {LONGEST_NAME}"
        if size <= LONGEST_NAME:
            told = f"{short(path)} takes {whole:,} bytes as a path, of {LONGEST_PATH:,}"
        raise UserError(f"{key}: {told} that there can be; choose a shorter one")
