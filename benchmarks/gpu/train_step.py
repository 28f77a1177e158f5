"""A training step of XLM-R large on one GPU: pairs a second, MFU, memory, and where its time goes.

Random weights, bf16 autocast. Lengths are drawn log-normally (medians 15 and 150 tokens, cut at 64
and 256), tokens by Zipf's law, since the gradient of the vocabulary depends on how often they
repeat. MFU counts 6 FLOPs for each weight of the layers and real token, and attention; embeddings
and recomputation are not counted.

  python benchmarks/gpu/train_step.py             # --only one-chunk,compiled for some parts
  python benchmarks/gpu/train_step.py --dry-run   # tiny sizes, on a CPU
"""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from card import Card
from torch import Tensor, nn
from torch.nn import functional

from hybrid_dist.config.schema import Model, Optim
from hybrid_dist.losses import streamed
from hybrid_dist.losses.batch_layout import BatchLayout
from hybrid_dist.losses.infonce import info_nce
from hybrid_dist.losses.options import LossOptions
from hybrid_dist.model.compiling import compile_layers
from hybrid_dist.model.encoder import BiEncoder, Chunk
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.chunk_size import Trial, largest_chunk_size, reserved_bytes
from hybrid_dist.training.flops import Flops, peak
from hybrid_dist.training.optimizer import adamw

Texts = list[list[int]]
CARD = Card("train_step", __doc__)
FOLDER = tempfile.mkdtemp()
DRAWN = np.random.default_rng(0)
SMALL, LARGE, HUGE = (8, 16, 32) if CARD.dry else (256, 1024, 8192)
"""Pairs of one chunk, of a batch in chunks, of a large batch."""


def config() -> Any:
    from transformers import XLMRobertaConfig

    large = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "vocab_size": 250_002,
    }
    tiny = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 1000,
    }
    return XLMRobertaConfig(
        **(tiny if CARD.dry else large),
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        attention_probs_dropout_prob=0.0,
    )


def texts(count: int, median: int, longest: int) -> Texts:
    lengths = np.clip(DRAWN.lognormal(np.log(median), 0.5, count), 4, longest).astype(int)
    if CARD.dry:
        lengths = lengths // 16 + 1
    words = config().vocab_size
    return [
        (5 + np.exp(DRAWN.random(n) * np.log(words - 6)) - 1).astype(int).tolist() for n in lengths
    ]


def batch(pairs: int) -> tuple[Texts, Texts]:
    return texts(pairs, 15, 64), texts(pairs, 150, 256)


class Engine:
    """The product's encoder, loss and optimizer."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        options = Model(name_or_path=FOLDER, init="scratch")
        encoder = build(options, read_config(options))
        encoder.select_attention(
            CARD.device, encoder.kernel_refusal_reason(CARD.device, torch.bfloat16)
        )
        CARD.record("texts", how=encoder.encoding_description)
        self.flops = Flops.of(encoder.backbone)
        self.model = BiEncoder(encoder, 0.05, learn_temperature=False).to(CARD.device).train()
        self.optimizer = adamw(self.model, Optim(lr=1e-6))

    def chunks(self, queries: Texts, passages: Texts, size: int) -> list[Chunk]:
        order = np.argsort([len(q) + len(p) for q, p in zip(queries, passages, strict=True)])
        return [
            Chunk(
                PackedTexts.of([queries[i] for i in some]),
                PackedTexts.of([passages[i] for i in some]),
            ).to(CARD.device)
            for some in np.split(order, range(size, len(order), size))
        ]

    def step(self, chunks: list[Chunk], clock: dict[str, float] | None = None) -> None:
        begin = CARD.now() if clock is not None else 0.0

        def lap(name: str) -> None:
            nonlocal begin
            if clock is not None:
                clock[f"{name}_ms"] = round((CARD.now() - begin) * 1000, 1)
                begin = CARD.now()

        with torch.autocast(CARD.device.type, torch.bfloat16):
            queries, candidates, temperature = self.model(chunks)
        lap("encode")
        rows = sum(len(chunk.queries.sizes) for chunk in chunks)
        layout = BatchLayout(0, (rows,), None)
        loss = info_nce(queries, candidates, temperature, layout).loss
        lap("loss")
        loss.backward()
        lap("backward")
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        lap("clip")
        self.optimizer.step()
        self.optimizer.zero_grad()
        lap("optimizer")

    def measure(
        self,
        what: str,
        pairs: int,
        chunk: int,
        steps: int = 5,
        warm_up: int = 1,
        recompute_all: bool = False,
    ) -> float:
        """Median seconds of a step. `recompute_all` adds a chunk of one pair, which is then the
        only one whose activations are kept."""
        CARD.reset_memory()
        batches = [batch(pairs) for _ in range(steps + warm_up)]
        seconds: list[float] = []
        for queries, passages in batches:
            chunks = self.chunks(queries, passages, chunk)
            if recompute_all:
                chunks += self.chunks(queries[:1], passages[:1], 1)
            begin = CARD.now()
            self.step(chunks)
            seconds.append(CARD.now() - begin)
        clock: dict[str, float] = {}
        if pairs <= LARGE:
            self.step(self.chunks(*batches[-1], chunk), clock)
        median = statistics.median(seconds[warm_up:])
        lengths = [[len(text) for text in q + p] for q, p in batches[warm_up:]]
        flops = np.mean([self.flops(some) for some in lengths]) if self.flops else 0.0
        most = peak(CARD.name)
        CARD.record(
            f"{what}: {pairs:,} pairs in chunks of {chunk:,}",
            s=round(median, 4),
            pairs_s=round(pairs / median, 1),
            tokens_s=round(np.mean([sum(some) for some in lengths]) / median),
            **({"mfu": round(flops / median / most, 4)} if most else {}),
            gib=CARD.peak_gib(),
            **clock,
        )
        return median


def ceilings() -> None:
    """What the card's matrix products and copies reach on their own."""
    tokens = 42_000
    shapes = [
        (8192, 8192, 8192, torch.bfloat16),
        (tokens, 1024, 1024, torch.bfloat16),
        (tokens, 4096, 1024, torch.bfloat16),
        (tokens, 1024, 4096, torch.bfloat16),
        (512, 65536, 1024, torch.float32),
        (512, 8192, 1024, torch.float32),
    ]
    for m, n, k, dtype in shapes:
        if CARD.dry:
            m, n, k = 64, 64, 64
        a, b = (torch.randn(r, k, device=CARD.device, dtype=dtype) for r in (m, n))
        seconds = CARD.seconds(partial(torch.matmul, a, b.T))
        tflops = round(2 * m * n * k / seconds / 1e12, 1)
        CARD.record(f"product {m:,} x {n:,} x {k:,}, {dtype}", tflops=tflops)
    source = torch.empty(2**16 if CARD.dry else 2**29, device=CARD.device)
    target = torch.empty_like(source)
    seconds = CARD.seconds(lambda: target.copy_(source))
    CARD.record("copy", gb_s=round(2 * source.nbytes / seconds / 1e9))


KERNELS = {
    "attention": ("flash", "fmha"),
    "products": ("gemm", "nvjet", "cutlass", "xmma", "sm90", "sm80_x"),
    "layer norm": ("layer_norm", "layernorm", "gammabeta"),
    "dropout": ("dropout",),
    "gelu": ("gelu",),
    "AdamW and clip": ("adam", "multi_tensor", "foreach"),
    "copies and casts": ("copy", "memcpy", "cat"),
    "reductions": ("reduce",),
    "additions": ("add",),
    "compiled": ("triton",),
    "embeddings": ("embedding", "index", "segment", "sort", "radix", "unique"),
}


def profile(engine: Engine, what: str) -> None:
    """The kernels of one step, by their share of the device's time."""
    chunks = engine.chunks(*batch(SMALL), SMALL)
    engine.step(chunks)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if not CARD.dry:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    begin = CARD.now()
    with torch.profiler.profile(activities=activities, acc_events=True) as profiled:
        engine.step(chunks)
        seconds = CARD.now() - begin
    field = "self_cpu_time_total" if CARD.dry else "self_device_time_total"
    events = [
        event
        for event in profiled.key_averages()
        if getattr(event, field) > 0 and (CARD.dry or "CUDA" in str(event.device_type))
    ]
    busy = sum(getattr(event, field) for event in events) / 1e6
    groups: dict[str, float] = defaultdict(float)
    for event in events:
        name = event.key.lower()
        matching = (g for g, words in KERNELS.items() if any(word in name for word in words))
        groups[next(matching, "other")] += getattr(event, field) / 1e6
    shares = {name: f"{s / busy:.1%}" for name, s in sorted(groups.items(), key=lambda i: -i[1])}
    CARD.record(f"profile of {what}", s=round(seconds, 3), busy=f"{busy / seconds:.0%}", **shares)
    for event in sorted(events, key=lambda e: -getattr(e, field))[:14]:
        print(f"      {getattr(event, field) / 1e3:9.2f} ms {event.count:6d} x  {event.key[:110]}")


def loss_alone(rows: int, symmetric: bool) -> None:
    """The streamed loss against dense logits and cross_entropy, where those fit."""
    vectors = [torch.randn(rows, 64 if CARD.dry else 1024, device=CARD.device) for _ in range(2)]
    q, p = (functional.normalize(v, dim=-1).requires_grad_() for v in vectors)
    temperature = torch.tensor([0.05], device=CARD.device)
    layout = BatchLayout(0, (rows,), None)

    def ours() -> None:
        info_nce(q, p, temperature, layout, LossOptions(symmetric=symmetric)).loss.backward()

    def dense() -> None:
        logits, labels = q @ p.T / temperature, torch.arange(rows, device=CARD.device)
        loss = functional.cross_entropy(logits, labels)
        if symmetric:
            loss = (loss + functional.cross_entropy(logits.T, labels)) / 2
        loss.backward()

    figures: dict[str, Any] = {}
    sides: dict[str, Callable[[], None]] = {"streamed": ours, "dense": dense}
    if rows > 20_000:
        del sides["dense"]
    for name, run in sides.items():
        CARD.reset_memory()
        figures[f"{name}_ms"] = round(CARD.seconds(run, 3) * 1000, 2)
        figures[f"{name}_gib"] = CARD.peak_gib()
    CARD.record(f"loss{', symmetric' if symmetric else ''}, {rows:,} pairs", **figures)


def strips(rows: int, symmetric: bool) -> None:
    """The streamed loss with strips of other heights than that chosen for CPUs."""
    chosen = streamed.BLOCK_ROWS
    vectors = [torch.randn(rows, 64 if CARD.dry else 1024, device=CARD.device) for _ in range(2)]
    q, p = (functional.normalize(v, dim=-1).requires_grad_() for v in vectors)
    temperature = torch.tensor([0.05], device=CARD.device)
    layout = BatchLayout(0, (rows,), None)

    def loss() -> None:
        info_nce(q, p, temperature, layout, LossOptions(symmetric=symmetric)).loss.backward()

    figures: dict[str, Any] = {}
    for height in (256, 512, 1024, 2048, 4096):
        streamed.BLOCK_ROWS = height
        CARD.reset_memory()
        figures[f"{height}_ms"] = round(CARD.seconds(loss, 3) * 1000, 2)
        figures[f"{height}_gib"] = CARD.peak_gib()
    streamed.BLOCK_ROWS = chosen
    CARD.record(f"strips{', symmetric' if symmetric else ''}, {rows:,} pairs", **figures)


class Autocast(nn.Module):
    """A model whose forward pass runs in bf16, as Accelerate prepares it."""

    def __init__(self, model: BiEncoder) -> None:
        super().__init__()
        self.model, self.encoder = model, model.encoder

    def forward(self, chunks: list[Chunk]) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(CARD.device.type, torch.bfloat16):
            encoded: tuple[Tensor, Tensor, Tensor] = self.model(chunks)
        return encoded


def auto_chunk(engine: Engine, what: str) -> None:
    """What `train.chunk_size: auto` chooses for a batch of LARGE pairs, how long it takes, and
    whether a step of other texts in such chunks fits."""
    queries, passages = batch(LARGE)

    def feed(size: int) -> Any:
        chunks = engine.chunks(queries, passages, size)
        return SimpleNamespace(
            inputs=lambda step: SimpleNamespace(chunks=chunks, batch=SimpleNamespace(step=step))
        )

    model: Any = Autocast(engine.model)
    plan: Any = SimpleNamespace(
        size=LARGE, batch=lambda step: SimpleNamespace(lengths=np.ones(LARGE, np.int64))
    )
    reserve = reserved_bytes(engine.model, engine.optimizer, 2 * LARGE)
    trial = Trial(model, feed, plan, Ranks(device=CARD.device), steps=1, reserve=reserve)
    begin = CARD.now()
    size = largest_chunk_size(trial, print)
    CARD.record(f"chunk_size auto, {what}", pairs=size, s=round(CARD.now() - begin, 1))
    engine.measure(f"{what}, auto", LARGE, size, 3)


def liger() -> None:
    """Liger's layer norm in place of PyTorch's, the alternative to compiled layers."""
    if CARD.dry or find_spec("liger_kernel") is None:
        CARD.record("liger", skipped="needs a GPU and the package liger_kernel")
        return
    from liger_kernel.transformers import LigerLayerNorm  # type: ignore[import-not-found]

    engine = Engine()
    for module in list(engine.model.encoder.backbone.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.LayerNorm):
                norm = LigerLayerNorm(part.normalized_shape[0], eps=part.eps).to(CARD.device)
                norm.load_state_dict(part.state_dict())
                setattr(module, name, norm)
    engine.optimizer = adamw(engine.model, Optim(lr=1e-6))
    engine.measure("Liger layer norms", SMALL, SMALL)


def vocabulary(engine: Engine) -> None:
    """Looking words up and the table's gradient, and AdamW on the table."""
    table = engine.model.encoder.backbone.get_input_embeddings().weight
    ids = torch.cat([torch.tensor(text) for text in texts(SMALL, 150, 256)]).to(CARD.device)
    gradient = torch.randn(len(ids), table.shape[1], device=CARD.device)

    def look_up() -> None:
        table.grad = None
        used, places = ids.unique(return_inverse=True)
        functional.embedding(used, table).index_select(0, places).backward(gradient)

    ms = round(CARD.seconds(look_up, 3) * 1000, 2)
    optimizer = torch.optim.AdamW([table], fused=True)
    adam = round(CARD.seconds(optimizer.step, 3) * 1000, 2)
    unique = len(ids.unique())
    CARD.record("vocabulary", tokens=len(ids), unique=unique, gradient_ms=ms, adamw_ms=adam)
    table.grad = None


class Bf16LayerNorm(nn.Module):
    """Normalizes in fp32 and, under autocast, returns bf16: the residual stream is bf16."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.float())
        return normed.bfloat16() if torch.is_autocast_enabled(x.device.type) else normed


def bf16_residual() -> None:
    """An experiment: what a residual stream in bf16 gains, and what it costs in exactness."""
    engine = Engine()
    for layer in engine.model.encoder.backbone.encoder.layer:
        layer.attention.output.LayerNorm = Bf16LayerNorm(layer.attention.output.LayerNorm)
        layer.output.LayerNorm = Bf16LayerNorm(layer.output.LayerNorm)
    gradient_error(engine)
    compiled(engine)
    engine.measure("bf16 residual", SMALL, SMALL)


def recompute_all(engine: Engine) -> None:
    what = "ours, every chunk recomputed"
    engine.measure(what, LARGE, SMALL, 3, recompute_all=True)


def compiled(engine: Engine) -> None:
    """Compile, and report how long the first step takes."""
    compile_layers(engine.model.encoder, backend="aot_eager" if CARD.dry else "inductor")
    begin = CARD.now()
    engine.step(engine.chunks(*batch(SMALL // 4), SMALL // 8))
    CARD.record("first compiled step", s=round(CARD.now() - begin, 1))


def gradient_error(engine: Engine) -> None:
    """The gradient under autocast against that in fp32."""
    engine.model.eval()  # no dropout
    chunks = engine.chunks(*batch(SMALL // 4), SMALL // 4)

    def gradient(enabled: bool) -> Tensor:
        engine.model.zero_grad()
        encoder = engine.model.encoder
        dtype = torch.bfloat16 if enabled else torch.float32
        encoder.select_attention(CARD.device, encoder.kernel_refusal_reason(CARD.device, dtype))
        with torch.autocast(CARD.device.type, torch.bfloat16, enabled=enabled):
            queries, candidates, temperature = engine.model(chunks)
        layout = BatchLayout(0, (len(queries),), None)
        info_nce(queries, candidates, temperature, layout).loss.backward()
        parts = engine.model.encoder.backbone.encoder.parameters()
        return torch.cat([part.grad.flatten() for part in parts if part.grad is not None])

    fp32, bf16 = gradient(False), gradient(True)
    engine.model.zero_grad()
    engine.model.train()
    apart = float((bf16 - fp32).norm() / fp32.norm())
    CARD.record("gradient against fp32", relative_error=f"{apart:.3%}")


class Backbone(nn.Module):
    """A backbone as sentence-transformers takes its first module."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, features: dict[str, Tensor], **more: Any) -> dict[str, Tensor]:
        rows = {key: features[key] for key in ("input_ids", "attention_mask")}
        return features | {"token_embeddings": self.backbone(**rows).last_hidden_state}


def peer(pairs: int, chunk: int, steps: int = 3) -> None:
    """The same texts, padded, through sentence-transformers' losses."""
    if find_spec("sentence_transformers") is None:
        CARD.record("peer", skipped="the package sentence_transformers is not installed")
        return
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import XLMRobertaModel

    torch.manual_seed(0)
    backbone = Backbone(XLMRobertaModel(config(), add_pooling_layer=False))
    modules = [backbone, Pooling(config().hidden_size)]
    model = SentenceTransformer(modules=modules, device=str(CARD.device)).train()
    optimizer = adamw(model, Optim(lr=1e-6))
    if chunk < pairs:
        loss = losses.CachedMultipleNegativesRankingLoss(model, 20.0, mini_batch_size=chunk)
    else:
        loss = losses.MultipleNegativesRankingLoss(model, 20.0)
    CARD.reset_memory()
    seconds: list[float] = []
    for _ in range(steps + 1):
        columns = [PackedTexts.of(some).to(CARD.device) for some in batch(pairs)]
        begin = CARD.now()
        features = [some.padded(1)[0] for some in columns]
        with torch.autocast(CARD.device.type, torch.bfloat16):
            value = loss(features, None)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(CARD.now() - begin)
    median = statistics.median(seconds[1:])
    CARD.record(
        f"sentence-transformers: {pairs:,} pairs in chunks of {chunk:,}",
        s=round(median, 4),
        pairs_s=round(pairs / median, 1),
        gib=CARD.peak_gib(),
    )


def main() -> None:
    config().save_pretrained(FOLDER)
    CARD.part("ceilings", 5, ceilings)
    measure_product()
    CARD.part("peer", 20, lambda: peer(SMALL // 2, SMALL // 2))
    CARD.part("peer-chunks", 60, lambda: peer(LARGE, SMALL // 2, 2))
    CARD.part("liger", 30, liger)
    CARD.part("residual", 70, bf16_residual)


def measure_product() -> None:
    part, engine = CARD.part, Engine()
    part("one-chunk", 10, lambda: engine.measure("ours", SMALL, SMALL))
    part("equal-chunk", 10, lambda: engine.measure("ours", SMALL // 2, SMALL // 2))
    part("profile", 10, lambda: profile(engine, "ours"))
    part("chunks", 15, lambda: engine.measure("ours", LARGE, SMALL, 3))
    part("recompute-all", 15, lambda: recompute_all(engine))
    part("equal-chunks", 15, lambda: engine.measure("ours", LARGE, SMALL // 2, 2))
    part("auto", 30, lambda: auto_chunk(engine, "ours"))
    part("small-chunks", 15, lambda: engine.measure("ours", LARGE, SMALL // 4, 2))
    part("gradient", 5, lambda: gradient_error(engine))
    part("vocabulary", 5, lambda: vocabulary(engine))
    for rows in (64, 128) if CARD.dry else (8192, 65536):
        for symmetric in (False, True):
            part("loss", 5, partial(loss_alone, rows, symmetric))
            part("strips", 10, partial(strips, rows, symmetric))
    part("compile", 60, lambda: compiled(engine))
    part("compiled", 10, lambda: engine.measure("compiled", SMALL, SMALL))
    part("compiled-equal-chunk", 10, lambda: engine.measure("compiled", SMALL // 2, SMALL // 2))
    part("compiled-profile", 10, lambda: profile(engine, "compiled"))
    part("compiled-chunks", 15, lambda: engine.measure("compiled", LARGE, SMALL, 3))
    part("compiled-equal-chunks", 15, lambda: engine.measure("compiled", LARGE, SMALL // 2, 2))
    part("compiled-auto", 30, lambda: auto_chunk(engine, "compiled"))
    if not CARD.dry:
        part("large-batch", 25, lambda: engine.measure("compiled", HUGE, SMALL, 1, 0))


if __name__ == "__main__":
    main()
