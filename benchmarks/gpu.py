"""The engine on one GPU: XLM-R large from its config, bf16, texts of natural lengths.

Tells, for one chunk and for a large batch in chunks: pairs a second, the share of the card's peak
(model FLOPs: 6 for each weight of the layers and real token, and attention; embeddings and what is
computed again are not counted), the time of each part of a step, peak memory, and with --peer the
same step by sentence-transformers. It pads, and 256 pairs at once would take about 86 GB: it is
given --peer-chunk pairs at once, and one batch of that size is measured on both sides. Lengths are
drawn log-normally (medians 15 and 150 tokens) and cut at 64 and 256; tokens are drawn
at random.

  python benchmarks/gpu.py                      # --peak FLOPS for a card that is not in the table
  python benchmarks/gpu.py --small --device cpu # a smoke test anywhere
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from hybrid_dist.config import Model, Optim
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.infonce import info_nce
from hybrid_dist.model.encoder import BiEncoder, Chunk
from hybrid_dist.model.flops import Flops, peak
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import Packed
from hybrid_dist.training.optimizer import adamw

Texts = list[list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peak", type=float, default=0.0, help="the card's dense bf16 FLOP/s")
    parser.add_argument("--one", type=int, default=256, help="pairs of a batch in one chunk")
    parser.add_argument("--many", type=int, default=8192, help="pairs of a batch in chunks")
    parser.add_argument("--chunk", type=int, default=256, help="pairs of a chunk")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--peer", action="store_true", help="also sentence-transformers")
    parser.add_argument("--peer-chunk", type=int, default=128, help="pairs that it encodes at once")
    parser.add_argument("--small", action="store_true", help="a toy's sizes")
    options = parser.parse_args()
    if options.small:
        options.one, options.many, options.chunk, options.steps = 8, 16, 4, 2
        options.peer_chunk = 2
    if options.peer and find_spec("sentence_transformers") is None:
        print("--peer: skipped, the package sentence_transformers is not installed")
        options.peer = False
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"{name}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        sizes(options.small).save_pretrained(folder)
        most = options.peak or peak(name) or 0.0
        bench = Bench(folder, torch.device(options.device), most)
        batches = [(options.one, options.one), (options.many, options.chunk)]
        if options.peer:
            batches.insert(1, (options.peer_chunk, options.peer_chunk))
        for pairs, chunk in batches:
            print(f"batch of {pairs:,} in chunks of {chunk:,}")
            ours = bench.measure(pairs, chunk, options.steps)
            if options.peer and pairs in (options.peer_chunk, options.many):
                theirs = bench.peer(pairs, options.peer_chunk, options.steps)
                print(
                    f"  sentence-transformers, {options.peer_chunk:,} at once: "
                    f"{pairs / theirs:,.1f} pairs/s; ours is {theirs / ours:.2f} times as fast"
                )


def sizes(small: bool) -> Any:
    from transformers import XLMRobertaConfig

    large = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "vocab_size": 250_002,
    }
    toy = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 1000,
    }
    return XLMRobertaConfig(
        **(toy if small else large),
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        attention_probs_dropout_prob=0.0,
    )


class Bench:
    def __init__(self, folder: str, device: torch.device, most: float) -> None:
        self.folder, self.device, self.peak = folder, device, most
        options = Model(name_or_path=folder, init="scratch")
        config = read_config(options)
        torch.manual_seed(0)
        encoder = build(options, config)
        encoder.attend_on(device, encoder.why_no_kernel(device, torch.bfloat16))
        print(f"texts are {encoder.told}")
        self.config = config
        self.flops = Flops.of(encoder.backbone)
        self.model = BiEncoder(encoder, 0.05, learn_temperature=False).to(device).train()
        self.optimizer = adamw(self.model, Optim(lr=1e-5))
        self.numbers = np.random.default_rng(0)

    def texts(self, count: int, median: int, cap: int) -> Texts:
        drawn = self.numbers.lognormal(np.log(median), 0.5, count)
        lengths = np.clip(drawn, 4, cap).astype(int)
        return [self.numbers.integers(5, self.config.vocab_size, n).tolist() for n in lengths]

    def batch(self, pairs: int) -> tuple[Texts, Texts]:
        return self.texts(pairs, 15, 64), self.texts(pairs, 150, 256)

    def measure(self, pairs: int, chunk: int, steps: int) -> float:
        seconds, parts, flops = [], list[dict[str, float]](), 0.0
        self.reset_memory()
        for step in range(steps + 1):  # the first warms up
            queries, passages = self.batch(pairs)
            flops = self.flops([len(text) for text in queries + passages]) if self.flops else 0.0
            clock = Clock(self.device)
            begin = clock.now()
            self.step(queries, passages, chunk, clock)
            if step:
                seconds.append(clock.now() - begin)
                parts.append(clock.parts)
        median = statistics.median(seconds)
        print(
            f"  ours: {pairs / median:,.1f} pairs/s, {median:.3f} s a step"
            + (f", {flops / median / self.peak:.1%} of the peak" if self.peak else "")
        )
        for name in parts[0]:
            share = statistics.median(part[name] for part in parts)
            print(f"    {name:<22} {share * 1000:9.1f} ms  {share / median:6.1%}")
        self.tell_memory()
        return median

    def step(self, queries: Texts, passages: Texts, chunk: int, clock: "Clock") -> None:
        order = np.argsort([len(q) + len(p) for q, p in zip(queries, passages, strict=True)])
        with clock("tokens to the device"):
            chunks = [
                Chunk(
                    Packed.of([queries[i] for i in some]), Packed.of([passages[i] for i in some])
                ).to(self.device)
                for some in np.split(order, range(chunk, len(order), chunk))
            ]
        with clock("encode"), torch.autocast(self.device.type, torch.bfloat16):
            vectors = self.model(chunks)
        with clock("loss and its gradients"):
            layout = BatchLayout(0, (len(order),), None)
            loss = info_nce(*vectors, layout, symmetric=False).loss
        with clock("backward"):
            loss.backward()
        with clock("clip and update"):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def peer(self, pairs: int, chunk: int, steps: int) -> float:
        """The same texts padded by column, through sentence-transformers' losses."""
        from sentence_transformers import SentenceTransformer, losses, models
        from transformers import XLMRobertaConfig, XLMRobertaModel

        self.model.to("cpu")
        torch.manual_seed(0)
        config = XLMRobertaConfig.from_pretrained(self.folder)  # with its own attention
        transformer = Given(XLMRobertaModel(config, add_pooling_layer=False))
        pooling = models.Pooling(self.config.hidden_size)
        peer = SentenceTransformer(modules=[transformer, pooling], device=str(self.device)).train()
        if chunk < pairs:
            loss = losses.CachedMultipleNegativesRankingLoss(peer, 20.0, mini_batch_size=chunk)
        else:
            loss = losses.MultipleNegativesRankingLoss(peer, 20.0)
        optimizer, seconds = adamw(peer, Optim(lr=1e-5)), []
        self.reset_memory()
        for step in range(steps + 1):
            columns = [Packed.of(texts) for texts in self.batch(pairs)]
            clock = Clock(self.device)
            begin = clock.now()
            features = [
                {key: part.to(self.device) for key, part in texts.padded(1)[0].items()}
                for texts in columns
            ]
            with torch.autocast(self.device.type, torch.bfloat16):
                value = loss(features, None)
            value.backward()
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if step:
                seconds.append(clock.now() - begin)
        self.tell_memory()
        del peer, optimizer, loss
        self.model.to(self.device)
        return statistics.median(seconds)

    def reset_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def tell_memory(self) -> None:
        if self.device.type == "cuda":
            print(f"    peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


class Given(torch.nn.Module):
    """A backbone as sentence-transformers takes its first module."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rows = {key: features[key] for key in ("input_ids", "attention_mask")}
        return features | {"token_embeddings": self.backbone(**rows).last_hidden_state}


class Clock:
    """Seconds of the parts of a step, with the device caught up at their edges."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.parts = device, dict[str, float]()

    def now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = self.now()
        yield
        self.parts[name] = self.now() - begin


if __name__ == "__main__":
    main()
