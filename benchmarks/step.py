"""A training step against sentence-transformers': same weights, batches, optimizer and cores.

Both tokenise, encode, compute the in-batch loss, go backward, clip and update, on the toy data, in
one process. They take turns (A B A B ...) and the medians' ratio is told: above 1 ours is faster.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.losses import MultipleNegativesRankingLoss

from hybrid_dist.batching import Plan
from hybrid_dist.cluster.start import start
from hybrid_dist.config import Batching, Config, Loss, Mix, Model, Optim, Train
from hybrid_dist.data.store import Source, Store
from hybrid_dist.data.toy import ToyOptions, generate
from hybrid_dist.model.encoder import BiEncoder, Encoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.saving import save
from hybrid_dist.model.settings import Settings
from hybrid_dist.model.tokens import TextTokens
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.update import Updater


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="steps a turn")
    parser.add_argument("--turns", type=int, default=5, help="turns each")
    parser.add_argument("--size", type=int, default=128, help="pairs in a batch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        toy = Path(folder) / "toy"
        generate(toy, ToyOptions())
        config = Config(
            model=Model(
                name_or_path=str(toy / "model"),
                init="scratch",
                max_query_tokens=32,
                max_passage_tokens=48,
            ),
            batching=Batching(size=options.size, mix=Mix(monolingual=1, cross_lingual=1)),
            loss=Loss(temperature=0.05),
            optim=Optim(lr=1e-3, schedule="constant", max_grad_norm=1.0),
            train=Train(steps=10**6, precision="fp32"),
        )
        store = Store.open([str(toy / "train.jsonl")])
        plan = Plan([Source("toy", store.index)], config.batching, config.seed)
        tokens = TextTokens.load(config.model.name_or_path, Settings.of(config.model))
        torch.manual_seed(config.seed)
        encoder = build(config.model, read_config(config.model))
        peer_folder = Path(folder) / "peer"
        state = encoder.backbone.state_dict()
        save(peer_folder, encoder.backbone, state, tokens.tokenizer, Settings.of(config.model))
        updater, feed = our_side(config, plan, store, tokens, encoder)

        def ours(first: int, last: int) -> None:
            for work in feed.steps(first, last):
                updater.update(work)

        theirs = their_turns(config, plan, store, peer_folder)
        compare(ours, theirs, options.steps, options.turns)
        wait = data_wait(updater, feed, options.steps * options.turns)
        print(f"  wait: {wait:.2%} of our steps' time is spent waiting for data")


def our_side(
    config: Config, plan: Plan, store: Store, tokens: TextTokens, encoder: Encoder
) -> tuple[Updater, Feed]:
    accelerator, ranks = start("fp32")
    model = BiEncoder(encoder, config.loss.temperature, learn_temperature=False)
    updater = Updater(config, accelerator, ranks, model, adamw(model, config.optim))
    return updater, Feed(plan, [store], tokens, ranks, chunk_size=0, mask=True)


def data_wait(updater: Updater, feed: Feed, steps: int) -> float:
    """The share of time between the first update and the last that no batch was ready."""
    work = feed.steps(0, steps)
    updater.update(next(work))
    waited, begin = 0.0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        batch = next(work, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return waited / (time.perf_counter() - begin)
        updater.update(batch)


def their_turns(
    config: Config, plan: Plan, store: Store, folder: Path
) -> Callable[[int, int], None]:
    model = SentenceTransformer(str(folder), device="cpu").train()
    loss = MultipleNegativesRankingLoss(model, scale=1 / config.loss.temperature)
    optimizer = adamw(model, config.optim)

    def turn(first: int, last: int) -> None:
        for step in range(first, last):
            batch = plan.batch(step)
            queries = [config.model.query_prefix + q for q in store.queries(batch.query_row)]
            passages = [config.model.passage_prefix + p for p in store.passages(batch.passage_row)]
            value = loss([model.preprocess(queries), model.preprocess(passages)], None)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()

    return turn


def compare(
    ours: Callable[[int, int], None],
    theirs: Callable[[int, int], None],
    steps: int,
    turns: int,
) -> None:
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(-1, turns):  # the first, which warms both up, is not counted
        for name, run in (("ours", ours), ("theirs", theirs)):
            begin = time.perf_counter()
            run((turn + 1) * steps, (turn + 2) * steps)
            if turn >= 0:
                seconds[name].append((time.perf_counter() - begin) / steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        spread = f"{min(values) * 1000:.0f} to {max(values) * 1000:.0f}"
        print(f"{name:>6}: {medians[name] * 1000:6.1f} ms a step, median of {turns} ({spread})")
    print(f" ratio: {medians['theirs'] / medians['ours']:.2f} (theirs / ours)")


if __name__ == "__main__":
    main()
