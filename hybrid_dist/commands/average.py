"""`hybrid-dist average MODELS --out DIR`: the average of models or checkpoints, as a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.text import printable

if TYPE_CHECKING:
    from hybrid_dist.model.encoder import Encoder
    from hybrid_dist.model.tokenization import TextTokens


@dataclass(frozen=True, kw_only=True)
class Options:
    """Average the weights of models that were trained from the same one: the last checkpoints of a
    run, runs with several seeds, or a trained model and the one it started from. It takes seconds,
    and the result costs no more to use than any of them.

    Example: hybrid-dist average runs/hybrid intfloat/multilingual-e5-small --out models/between
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Checkpoints (RUN/checkpoints/step-*), run folders (their model/), model folders or names on
    the hub; prefixes, maximum lengths and tokenizer are those of the first."""
    out: Path
    """Folder to write; it must not exist, or be empty."""
    weights: tuple[float, ...] = ()
    """A weight for each model; equal ones by default. They are divided by their sum."""
    trust_remote_code: Flag = False
    """Run the Python code that the models' folders or repositories contain: read it first."""

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise UserError("give two models or more")
        if files := [name for name in self.models if Path(name).is_file()]:
            raise UserError(f"{files[0]}: is a file; give folders, as in RUN/checkpoints/step-*")
        if self.weights and len(self.weights) != len(self.models):
            raise UserError(
                f"--weights: there are {len(self.weights)} for {len(self.models)} models"
            )
        if self.weights and not (min(self.weights) >= 0 and 0 < sum(self.weights) < float("inf")):
            raise UserError("--weights: give finite numbers of 0 or more, not all of them 0")


def main(args: Sequence[str], program: str = "hybrid-dist average") -> None:
    with report_errors(program):
        options = parse(Options, args, program)
        from hybrid_dist.model.averaging import average
        from hybrid_dist.model.repository import naming_flag
        from hybrid_dist.training.checkpoint.trained_model import load_weights

        def load(name: str) -> "tuple[Encoder, TextTokens]":
            with naming_flag("MODELS"):
                return load_weights(name, options.trust_remote_code)

        weights = options.weights or (1.0,) * len(options.models)
        average(options.models, weights, options.out, load)
        print(printable(f"{options.out}: the average of {len(options.models)} models"))
