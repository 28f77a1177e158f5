"""A run's config from the command line: `--config FILE` and `--section.key value` flags."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro

from hybrid_dist.config.command_options import check_secrets, is_first_rank, show_help
from hybrid_dist.config.hints import hint
from hybrid_dist.config.resolve import RENAMED, check_consistency, validate
from hybrid_dist.config.schema import Config, flatten
from hybrid_dist.config.section import validation_deferred
from hybrid_dist.config.strict_yaml import read_yaml
from hybrid_dist.errors import UserError

HELP = """Train one run.

  --config FILE            Start from the values of this YAML file.
  --section.key VALUE      Change a single value (or --section.key=VALUE).

The options below are the keys of the file, with the values that it or the program gives them.

Example: hybrid-dist train --config configs/demo.yaml --run.name first --train.steps 500"""


def load(args: Sequence[str], program: str) -> Config:
    """The run described by `--config FILE` and the flags, validated and checked for consistency."""
    check_secrets(args, program)
    file, flags = _split_config_flag(args)
    _check_names(flags)
    base = validate(read_yaml(file), str(file)) if file else Config()
    show_help(Config, flags, program, HELP, base)
    with validation_deferred():  # so that one message lists everything wrong with the flags
        config = tyro.cli(
            Config,
            prog=program,
            args=_with_python_booleans(flags),
            default=base,
            use_underscores=True,
            config=(tyro.conf.FlagConversionOff,),
            console_outputs=is_first_rank(),
        )
    config = validate(dataclasses.asdict(config), "command line")
    check_consistency(config)
    return config


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


def _check_names(flags: Sequence[str]) -> None:
    """Refuse a flag that is no key, with what it is called here."""
    known = {"help", *flatten(Config())}
    for flag in flags:
        name = flag.partition("=")[0]
        key = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or key in known or key.startswith("tyro_"):
            continue
        if key in RENAMED:
            raise UserError(f"{name}: is called --{RENAMED[key]} now")
        raise UserError(f"{name}: unknown option{hint(key, '--') or ' (--help lists them all)'}")


def _with_python_booleans(flags: Sequence[str]) -> list[str]:
    """The flags with `true` and `false`, as YAML spells them, replaced by what tyro reads."""
    defaults = flatten(Config())
    names = {f"--{key}" for key, value in defaults.items() if isinstance(value, bool)}
    spelling = {"true": "True", "false": "False"}
    words: list[str] = []
    for flag in flags:
        name, equals, value = flag.partition("=")
        if name in names and equals:
            words.append(f"{name}={spelling.get(value, value)}")
        else:
            words.append(spelling.get(flag, flag) if words and words[-1] in names else flag)
    return words
