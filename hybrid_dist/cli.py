"""The command `hybrid-dist`: the name of a command, then that command's own options."""

import sys
from collections.abc import Sequence
from importlib import import_module

import hybrid_dist
from hybrid_dist.errors import TERMINATION_SIGNALS, UserError, nearest, report_errors
from hybrid_dist.runtime.loading_line import loading

PROGRAM = "hybrid-dist"

COMMANDS: dict[str, tuple[str, str]] = {
    "toy": ("commands.toy", "make the demo's data"),
    "prepare": (
        "commands.prepare",
        "build a store from your data, describe one, or verify one",
    ),
    "convert": ("commands.convert", "write the pairs of a store in the files of other trainers"),
    "mine": ("commands.mine", "add the hard negatives that a model finds to a store"),
    "plan": ("commands.plan", "show what the steps of a run would train on"),
    "estimate": ("commands.estimate", "estimate what a run takes on other hardware"),
    "train": ("commands.train", "train one run, in one process"),
    "launch": ("commands.launch", "train one run, in several processes, after checks"),
    "submit": ("commands.submit", "check a run and submit it as a SLURM job"),
    "watch": (
        "commands.watch",
        "show how a run stands: state, curves, mix, last evaluation, speed",
    ),
    "export": ("commands.export", "write the model in a checkpoint as a model folder"),
    "average": ("commands.average", "average the weights of models or checkpoints"),
    "evaluate": ("commands.evaluate", "score a model on tasks and write reports"),
    "bias": ("commands.bias", "measure how much a retriever favours the language of a query"),
    "search": ("commands.search", "search passages with a model, at a prompt or in a pipe"),
    "bitext": ("commands.bitext", "mine translations as in BUCC, and score them by F1"),
    "push": ("commands.push", "upload a model with its card to the Hugging Face hub"),
    "overlap": ("commands.overlap", "check the training data for evaluation texts"),
    "compare": ("commands.compare", "put evaluated runs side by side"),
    "study": ("commands.study", "train and evaluate a grid of runs, and report what they show"),
    "dashboard": ("commands.dashboard", "lay out a W&B workspace for runs or a study"),
    "prefetch": (
        "commands.prefetch",
        "fetch the model and data of a run, for nodes without a network",
    ),
    "doctor": (
        "commands.doctor",
        "look over a machine or an allocation: what is ok, slow or wrong",
    ),
    "init": ("commands.init", "lay out a folder to train in, with a config for your pairs"),
    "config": ("commands.config", "print values of a run's config, for scripts"),
}
"""The module of every command, which is imported when the command is called, and its summary."""

RENAMED = {"tell": "config get", "merge": "average"}
"""Commands that had another name."""


def main() -> None:
    """Entry point of `hybrid-dist`."""
    word, *args = sys.argv[1:] or ["--help"]
    with report_errors(PROGRAM, () if word == "train" else TERMINATION_SIGNALS):
        if word in ("-h", "--help"):
            print(usage())
        elif word == "--version":
            print(f"{PROGRAM} {hybrid_dist.__version__}")
        elif word in COMMANDS:
            run(word, args)
        elif word in RENAMED:
            raise UserError(f"{word!r} is now `{PROGRAM} {RENAMED[word]}`")
        else:
            raise UserError(f"unknown command {word!r}{nearest(word, COMMANDS)}\n\n{usage()}")


def run(name: str, args: Sequence[str]) -> None:
    """Call one command with its own options."""
    with loading(f"{PROGRAM} {name}"):
        module = import_module(f"hybrid_dist.{COMMANDS[name][0]}")
    module.main(args, f"{PROGRAM} {name}")


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [options]",
            "",
            "Trains multilingual retrievers with hybrid batches, and evaluates them.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help tells a command's options and shows an example.",
            f"Your own pairs: {PROGRAM} init my-retriever --data 'pairs/*.jsonl'",
        ]
    )


if __name__ == "__main__":
    main()
