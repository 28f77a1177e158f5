"""The command `hybrid-dist`: a word, then that command's own options."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

import hybrid_dist
from hybrid_dist.data.toy import ToyOptions
from hybrid_dist.errors import ENDING, UserError, nearest, reported
from hybrid_dist.runtime.text import printable

PROGRAM = "hybrid-dist"


@dataclass(frozen=True, kw_only=True)
class Toy(ToyOptions):
    """Make the demo's data: invented languages that say the same things in different words.

    Writes train, dev and test pairs, and model/ with a small XLM-R config and its tokenizer.

    Example: hybrid-dist toy --out runs/demo/toy
    """

    out: Path
    """Folder to make."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Put evaluated runs side by side: mAP in the three settings and the language bias.

    Differences are from the first run, question by question.

    Example: hybrid-dist compare runs/demo/monolingual runs/demo/hybrid --out runs/demo
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, or folders that `hybrid-dist evaluate --out` wrote."""
    out: Path | None = None
    """Also write report.html, .md, .tex, .csv and .json into this folder."""
    task: str | None = None
    """Name of the task to compare, where runs have several."""


@dataclass(frozen=True, kw_only=True)
class Init:
    """Lay out the configs, launcher files and SLURM scripts that a training folder starts from.

    Example: hybrid-dist init my-retriever
    """

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder to fill; files that stand there already are left alone."""


def toy(args: Sequence[str]) -> None:
    from hybrid_dist.data.toy import generate

    asked = tyro.cli(Toy, args=args, prog=f"{PROGRAM} toy", use_underscores=True)
    options = {key: value for key, value in asdict(asked).items() if key != "out"}
    made = generate(asked.out, ToyOptions(**options))
    pairs = sum(made["pairs"]["train"].values())
    languages = len(made["pairs"]["train"])
    print(printable(f"{asked.out}: {pairs:,} training pairs in {languages} languages"))


def train(args: Sequence[str]) -> None:
    from hybrid_dist.train import main

    main(args, f"{PROGRAM} train")


def prepare(args: Sequence[str]) -> None:
    from hybrid_dist.prepare import main

    main(args, f"{PROGRAM} prepare")


def plan(args: Sequence[str]) -> None:
    from hybrid_dist.plan import main

    main(args, f"{PROGRAM} plan")


def evaluate(args: Sequence[str]) -> None:
    from hybrid_dist.evaluate import main

    main(args, f"{PROGRAM} evaluate")


def overlap(args: Sequence[str]) -> None:
    from hybrid_dist.overlap import main

    main(args, f"{PROGRAM} overlap")


def compare_runs(args: Sequence[str]) -> None:
    from rich.console import Console

    from hybrid_dist.studies import compare_pages
    from hybrid_dist.studies.compare import compare

    asked = tyro.cli(Compare, args=args, prog=f"{PROGRAM} compare", use_underscores=True)
    found = compare(asked.runs, asked.task)
    if asked.out is not None:
        compare_pages.write(found, asked.out)
    for table in found.tables():
        Console().print(table)
    for run, why in found.paired.refused.items():
        if len(asked.runs) > 1:
            print(printable(f"{run} is not paired: {why}"))


def prefetch(args: Sequence[str]) -> None:
    from hybrid_dist.prefetch import main

    main(args, f"{PROGRAM} prefetch")


def doctor(args: Sequence[str]) -> None:
    from hybrid_dist.doctor import main

    main(args, f"{PROGRAM} doctor")


def watch(args: Sequence[str]) -> None:
    from hybrid_dist.watch import main

    main(args, f"{PROGRAM} watch")


def init(args: Sequence[str]) -> None:
    from hybrid_dist.scaffold import lay_out

    asked = tyro.cli(Init, args=args, prog=f"{PROGRAM} init", use_underscores=True)
    for line in lay_out(asked.dir):
        print(printable(line))
    print(
        f"Next: cd {printable(asked.dir)} && {PROGRAM} toy --out runs/demo/toy && "
        f"{PROGRAM} plan --config configs/demo.yaml"
    )


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "toy": (toy, "make the demo's data"),
    "prepare": (prepare, "make the store that training opens of what you have; describe one"),
    "plan": (plan, "show what the steps of a run would train on"),
    "train": (
        train,
        "train one run, in one process (more: accelerate launch -m hybrid_dist.train)",
    ),
    "watch": (watch, "show how a run stands: state, curves, mix, last evaluation, speed"),
    "evaluate": (evaluate, "score a model on tasks and write reports"),
    "overlap": (overlap, "check that what is evaluated on was not trained on"),
    "compare": (compare_runs, "put evaluated runs side by side"),
    "prefetch": (prefetch, "fetch the model and data of a run, for nodes without a network"),
    "doctor": (doctor, "look over a machine or an allocation: what is ok, slow or wrong"),
    "init": (init, "lay out configs, launchers and SLURM scripts in a folder"),
}


def main() -> None:
    """Entry point of `hybrid-dist`."""
    word, *args = sys.argv[1:] or ["--help"]
    with reported(PROGRAM, () if word == "train" else ENDING):
        if word in ("-h", "--help"):
            print(usage())
        elif word == "--version":
            print(f"{PROGRAM} {hybrid_dist.__version__}")
        elif word in COMMANDS:
            COMMANDS[word][0](args)
        else:
            raise UserError(f"unknown command {word!r}{nearest(word, COMMANDS)}\n\n{usage()}")


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:<{width}}  {told}" for name, (_, told) in COMMANDS.items())
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [options]",
            "",
            "Trains multilingual retrievers with hybrid batches, and evaluates them.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help tells a command's options and shows an example.",
            f"A first run: {PROGRAM} toy --out runs/demo/toy && "
            f"{PROGRAM} train --config configs/demo.yaml --run.name first",
        ]
    )


if __name__ == "__main__":
    main()
