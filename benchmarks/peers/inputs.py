"""What is compared on: a model, pairs and a task, given or found where the data are."""

import argparse
from pathlib import Path

from measuring import data

import hybrid_dist as hd
from hybrid_dist.config.schema import Batching, Config, Data, Log, Model, Run, Train
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.demo.toy import ToyOptions, generate

LANGUAGES = "ar,de,en,ru,zh"


def given(options: argparse.Namespace, folder: Path) -> tuple[str, str, str]:
    """A folder of a model, a store and the spec of a task."""
    if options.quick and not options.model:
        return invented(folder / "toy")
    pairs, task = options.pairs, options.task
    if not pairs:
        source = data("tldr", "tldr-pages: a clone, or units of it")
        layout = "units" if (source / "pairs.jsonl.gz").exists() else "tldr"
        reading, pairs = Reading(), str(folder / "store")
        made = SOURCES[layout].pairs([str(source)], reading)  # type: ignore[misc]
        Store.build(made, Path(pairs), reading=reading)
    if not task:
        task = f"xquad_r:{data('xquad-r', 'the XQuAD-R of LAReQA')}?languages={LANGUAGES}"
    return options.model, pairs, task


def invented(folder: Path) -> tuple[str, str, str]:
    """The toy languages, and a model of random weights that sentence-transformers loads too."""
    world = ToyOptions(languages=4, train_uids=300, test_uids=40, hidden=32, heads=2)
    generate(folder, world)
    pairs = str(folder / "train.jsonl")
    result = hd.train(
        Config(
            run=Run(dir=str(folder / "runs")),
            model=Model(name_or_path=str(folder / "model"), init="scratch", max_passage_tokens=128),
            data=Data(train=(pairs,), cache_dir=str(folder / "cache")),
            batching=Batching(size=4),
            train=Train(steps=1, precision="fp32"),
            log=Log(wandb="disabled"),
        )
    )
    return str(result.model), pairs, f"toy:{folder}"
