"""`hybrid-dist toy`: make the demo's data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hybrid_dist.config.command_options import parse
from hybrid_dist.demo.toy import ToyOptions, generate
from hybrid_dist.text import printable


@dataclass(frozen=True, kw_only=True)
class Options(ToyOptions):
    """Make the demo's data: invented languages that say the same things in different words.

    Writes train, dev and test pairs, and model/ with a small XLM-R config and its tokenizer.

    Example: hybrid-dist toy --out runs/demo/toy
    """

    out: Path
    """Folder to make."""


def main(args: Sequence[str], program: str = "hybrid-dist toy") -> None:
    chosen = parse(Options, args, program)
    options = {key: value for key, value in asdict(chosen).items() if key != "out"}
    made = generate(chosen.out, ToyOptions(**options))
    pairs = sum(made["pairs"]["train"].values())
    languages = len(made["pairs"]["train"])
    print(printable(f"{chosen.out}: {pairs:,} training pairs in {languages} languages"))
