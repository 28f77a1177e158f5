"""SGD updates through the product's own code, against one process.

SGD, because Adam hides the scale of gradients. Without dropout the judge is float64, whole batches
and plain cross_entropy: it shares nothing with the product but the plan, the tokens and the
encoder's arithmetic. With dropout it is one process in fp32 that replays every rank's chunks with
that rank's random state. Prints one line of JSON for each set of options, from the first rank.
"""

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hybrid_dist.batching import GlobalBatch, Plan, shard_batch
from hybrid_dist.batching.sharding import fewest_chunks
from hybrid_dist.config.schema import (
    STORED,
    Align,
    Batching,
    Config,
    Distill,
    Loss,
    Model,
    Optim,
    Train,
)
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import TrainingSource
from hybrid_dist.data.store.reader import Store
from hybrid_dist.losses.batch_layout import NO_ID
from hybrid_dist.losses.gathered_loss import Guide
from hybrid_dist.losses.options import LossOptions
from hybrid_dist.losses.reference import reference_info_nce
from hybrid_dist.model.compiling import compile_layers
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.model.layers import freeze_layers
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.launch import start, strategy
from hybrid_dist.runtime.ranks import Ranks, exit_process
from hybrid_dist.training.chunk_size import steady_chunks
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.initial_model import choose_attention
from hybrid_dist.training.objective import loss_options
from hybrid_dist.training.step import Updater
from hybrid_dist.training.teacher import Teacher
from hybrid_dist.training.teacher_sources import ModelTeacher, StoredTeacher
from tests.launched.scripts.fully_sharded import start_fsdp2
from tests.support.auxiliary_losses import (
    alignment,
    distillation,
    hashed_vectors,
    with_vectors,
)
from tests.support.encoders import KINDS

SIZE, STEPS = 25, 3  # 25 rows: ranks differ by one
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "three chunks": {"chunks": 3},
    "a row a chunk": {"chunks": SIZE},
    "symmetric": {"symmetric": True},
    "learned temperature": {"learn_temperature": True},
    "no masks": {"mask": False},
    "hard negatives": {"chunks": 3, "negatives": 2},
    "padded": {"chunks": 3, "padded": True},
    "labse": {"chunks": 3, "pooling": "labse"},
    "all": {"chunks": 3, "symmetric": True, "learn_temperature": True, "negatives": 1},
    "margin": {"chunks": 3, "negatives": 1, "margin": 0.1, "spread": True},
    "guided": {
        "chunks": 3,
        "negatives": 1,
        "margin": 0.1,
        "stored": 12,
        "distill": {"weight": 0},
    },
    "hardness": {"chunks": 3, "negatives": 1, "loss": {"hardness": 4.0}},
    "other negatives": {
        "chunks": 3,
        "negatives": 1,
        "loss": {"query_negatives": True, "passage_negatives": True},
        "learn_temperature": True,
    },
    "dims": {"chunks": 3, "loss": {"dims": (4, 16)}, "learn_temperature": True},
    "every signal": {
        "chunks": 3,
        "negatives": 1,
        "margin": -0.05,
        "spread": True,
        "loss": {
            "hardness": 2.0,
            "query_negatives": True,
            "passage_negatives": True,
            "dims": (8,),
            "dim_weights": (0.5,),
        },
    },
    "used rows": {"chunks": 3, "negatives": 1, "sparse_vocabulary": "always"},
    "used rows, padded": {"chunks": 3, "padded": True, "sparse_vocabulary": "always"},
    "frozen layer": {"chunks": 3, "negatives": 1, "frozen_layers": 1},
    "frozen layer, padded": {"chunks": 3, "padded": True, "frozen_layers": 1},
    "compiled": {"chunks": 3, "negatives": 1, "compile": True},
    "aligned": {"chunks": 3, "negatives": 1, "align": {"weight": 5, "share": 0.6}},
    "aligned, mse": {"align": {"weight": 500, "kind": "mse", "of": "both"}},
    "aligned, few": {
        "chunks": 3,
        "padded": True,
        "symmetric": True,
        "align": {"weight": 50, "of": "passages", "share": 0.1},
    },
    "aligned rankings": {
        "chunks": 3,
        "negatives": 2,
        "spread": True,
        "align": {"weight": 5, "share": 0.6, "kind": "jsd", "temperature": 0.1},
    },
    "distilled scores": {
        "chunks": 3,
        "negatives": 2,
        "stored": 12,
        "spread": True,
        "distill": {"weight": 2, "temperature": 0.2},
    },
    "distilled vectors": {
        "negatives": 1,
        "stored": 32,
        "distill": {"weight": 9, "kind": "cosine"},
    },
    "distilled, mse": {
        "chunks": 3,
        "padded": True,
        "stored": 32,
        "distill": {"weight": 99, "kind": "mse"},
    },
    "taught by a model": {
        "chunks": 3,
        "negatives": 1,
        "spread": True,
        "align": {"weight": 2, "share": 0.5},
        "distill": {"teacher": "a model", "weight": 2, "temperature": 0.1},
    },
    "lora": {"chunks": 3, "negatives": 1, "lora_rank": 4},
    "windows": {"chunks": 3, "kind": "modernbert"},
    "decoder": {"chunks": 3, "kind": "qwen3", "pooling": "last"},
    "decoder, both ways": {"chunks": 3, "kind": "qwen3", "attention": "bidirectional"},
    "chunk tokens": {"chunk_tokens": True, "negatives": 1},
    "chunk tokens, padded": {"chunk_tokens": True, "padded": True},
    "dropout": {"chunks": 3, "dropout": 0.1, "learn_temperature": True, "negatives": 1},
}


def pairs_with_shared_passages(toy: Path) -> Path:
    """Toy pairs in which two uids share each passage, so that batches hold false negatives; and two
    hard negatives each, of which one is another uid's right passage."""
    lines = [json.loads(line) for line in (toy / "train.jsonl").read_text().splitlines()]
    passages = {(row["lang"], row["uid"]): row["passage"] for row in lines}
    uids = sorted({row["uid"] for row in lines})[:60]
    partner = {uid: uids[i // 2 * 2] for i, uid in enumerate(uids)}
    other = dict(zip(uids, [*uids[3:], *uids[:3]], strict=True))
    kept = []
    for row in lines:
        if row["uid"] in partner:
            mine = passages[row["lang"], partner[row["uid"]]]
            another = passages[row["lang"], partner[other[row["uid"]]]]
            negatives = [another, " ".join(reversed(mine.split()))]
            kept.append(row | {"passage": mine, "negatives": negatives})
    file = Path(tempfile.mkdtemp()) / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, kept)))
    return file


class Vectors(NamedTuple):
    """Of a whole batch: queries and passages in the order of its rows, then hard negatives."""

    queries: Tensor
    passages: Tensor
    negatives: Tensor
    negative_texts: list[str]
    translations: tuple[Tensor, Tensor] | None = None
    """Of the aligned rows' queries and passages, in the order of the rows."""


class Case:
    """One set of options: its data, its batches, its model."""

    def __init__(
        self, toy: Path, name: str, pairs: str, world: int, strategy: str = "single"
    ) -> None:
        self.strategy = strategy
        self.name, self.options = name, OPTIONS[name]
        self.config = config_of(toy, self.options, world)
        self.mask, self.dropout = self.options.get("mask", True), self.options.get("dropout", 0.0)
        width = self.options.get("stored")
        self.store = Store.open(pairs) if width is None else with_vectors(pairs, width)
        self.answers: dict[str, set[str]] = {}
        """Of each uid: its passage in every language."""
        for line in Path(pairs).read_text().splitlines():
            row = json.loads(line)
            self.answers.setdefault(row["uid"], set()).add(row["passage"])
        sources = [TrainingSource("pairs", self.store.index)]
        self.plan = Plan(sources, self.config.batching, seed=3, align=self.config.align)
        self.tokens = TextTokens.load(
            self.config.model.name_or_path, EncoderSpec.of(self.config.model)
        )

    def feed(self, ranks: Ranks, teacher: Teacher | None = None) -> Feed:
        chunk_size = self.config.train.chunk_size
        assert chunk_size != "auto"
        tokens, least = 0, 1
        if self.options.get("chunk_tokens"):
            chunk_size, tokens = 0, self.chunk_tokens(ranks.world)
            least = steady_chunks(self.plan, ranks.world, tokens, self.strategy)
        return Feed(
            self.plan,
            [self.store],
            self.tokens,
            ranks,
            chunk_size,
            self.mask,
            self.config.loss.query_negatives,
            teacher,
            tokens,
            least,
        )

    def teacher(self) -> Teacher | None:
        """Vectors in the store, or a model like the student with other weights."""
        name = self.config.distill.teacher
        if not name:
            return None
        if name == STORED:
            return StoredTeacher([part for part in [self.store.teacher] if part is not None])
        spec = EncoderSpec("mean", "ask ", "", max_query_tokens=9, max_passage_tokens=90)
        tokens = TextTokens.load(self.config.model.name_or_path, spec)
        return ModelTeacher(name, self.built(1).encoder, tokens, [self.store], "fp32")

    def own_chunks(self, world: int, most: int) -> list[list[int]]:
        """How many chunks of at most so many tokens each rank needs for its own rows, by step."""
        return [
            [
                fewest_chunks(lengths[shard_batch(lengths, rank, world, 0).rows], most)
                for rank in range(world)
            ]
            for lengths in (self.plan.batch(step).lengths for step in range(STEPS))
        ]

    def chunk_tokens(self, world: int) -> int:
        """The largest limit for which ranks need different numbers of chunks, three or more."""
        longest = int(sum(self.plan.batch(0).lengths)) // world
        return next(
            most
            for most in range(longest // 2, 0, -1)
            if min(map(min, counts := self.own_chunks(world, most))) >= 3
            and any(len(set(of_ranks)) > 1 for of_ranks in counts)
        )

    def model(self) -> BiEncoder:
        return self.built(0)

    def built(self, seed: int) -> BiEncoder:
        torch.manual_seed(seed)
        encoder = build(self.config.model, read_config(self.config.model))
        assert encoder.padding_reason is None
        # else first tokens, and rankings of all texts, are too alike for fp32
        if self.config.model.pooling == "labse" or self.options.get("spread"):
            for name, weights in encoder.named_parameters():
                if name.endswith("weight") and weights.ndim == 2:
                    torch.nn.init.normal_(weights, std=0.15)
        for name, weights in encoder.named_parameters():
            if "lora_" in name:  # B starts at zero, so that A would have no gradient
                torch.nn.init.normal_(weights, std=0.1)
        if self.options.get("padded"):
            encoder.set_padding("a test of padding")
        if self.config.train.frozen_layers:
            freeze_layers(encoder.backbone, self.config.train.frozen_layers)
        loss = self.config.loss
        return BiEncoder(encoder, loss.temperature, loss.learn_temperature)

    def scores(self, vectors: "Vectors", temperature: Tensor, step: int) -> Tensor:
        """Of every query and candidate; -inf where a candidate may be right too."""
        batch = self.plan.batch(step)
        candidates = torch.cat([vectors.passages, vectors.negatives])
        scores = vectors.queries @ candidates.T / temperature
        if self.mask:
            same = torch.from_numpy((batch.clusters[:, None] == batch.clusters[None]).any(-1))
            same &= ~torch.eye(SIZE, dtype=torch.bool)
            right = [self.answers[uid] for uid in self.store.uids(batch.query_row)]
            is_relevant = [[text in mine for text in vectors.negative_texts] for mine in right]
            wrong = torch.cat(
                [same, torch.tensor(is_relevant, dtype=torch.bool).view(SIZE, -1)], dim=1
            )
            scores = scores.masked_fill(wrong, -torch.inf)
        return scores

    def loss(self, vectors: "Vectors", temperature: Tensor, step: int) -> Tensor:
        """Plain cross-entropy of the whole batch; the reference's, where the loss has options."""
        options = loss_options(self.config)
        if options != LossOptions(symmetric=self.config.loss.symmetric):
            candidates = torch.cat([vectors.passages, vectors.negatives])
            guide = None
            if self.config.batching.margin_scores == "teacher":
                its = self.taught(step)
                guide = Guide(its.queries, torch.cat([its.passages, its.negatives]))
            losses = reference_info_nce(
                vectors.queries, candidates, temperature, self.ids(step), options, guide
            )
            return losses.mean()
        scores, rows = self.scores(vectors, temperature, step), torch.arange(SIZE)
        loss = functional.cross_entropy(scores, rows)
        if self.config.loss.symmetric:
            loss = (loss + functional.cross_entropy(scores[:, :SIZE].T, rows)) / 2
        return loss

    def ids(self, step: int) -> Tensor:
        """Ids of all candidates: of the pairs' passages and queries, and of hard negatives."""
        batch = self.plan.batch(step)
        ids = torch.from_numpy(batch.clusters.astype(np.int64))
        if batch.negatives is None:
            return ids
        passages = torch.from_numpy(batch.negatives.clusters.astype(np.int64))
        return torch.cat([ids, torch.stack([passages, torch.full_like(passages, NO_ID)], dim=1)])

    def others(self, vectors: "Vectors", step: int) -> dict[str, Tensor]:
        """The losses beside the contrastive one."""
        parallel, losses = self.plan.batch(step).parallel, {}
        if parallel is not None and vectors.translations is not None:
            rows, align = torch.from_numpy(parallel.aligned), self.config.align
            texts = (vectors.queries[rows], vectors.passages[rows])
            pool = torch.cat([vectors.passages, vectors.negatives])
            losses["align"] = alignment(align, texts, vectors.translations, pool)
        if self.config.distill.weight and self.config.distill.teacher:
            taught, distill = self.taught(step), self.config.distill
            mine, its = (
                (each.queries, torch.cat([each.passages, each.negatives]))
                for each in (vectors, taught)
            )
            losses["distill"] = distillation(distill, mine, its)
        return losses

    @torch.no_grad()
    def taught(self, step: int) -> "Vectors":
        """The teacher's vectors of a whole batch."""
        batch, store, width = self.plan.batch(step), self.store, self.options.get("stored")
        texts = [
            store.queries(batch.query_row),
            store.passages(batch.passage_row),
            [] if batch.negatives is None else store.passage_texts(batch.negatives.passages),
        ]
        if width is not None:
            parts = [torch.from_numpy(hashed_vectors(some, width)).double() for some in texts]
        else:
            model = self.built(1).double().eval()
            model.encoder.set_padding("the judge pads")
            teacher = self.teacher()
            assert isinstance(teacher, ModelTeacher)
            tokens = teacher._tokens[0]._tokens
            parts = [pooled(model, tokens.queries(texts[0]))]
            parts += [pooled(model, tokens.passages(some)) for some in texts[1:]]
        queries, passages, negatives = parts
        return Vectors(queries, passages, negatives, texts[2])

    def judged(
        self, world: int
    ) -> tuple[list[float], list[dict[str, float]], list[dict[str, Tensor]]]:
        """Losses, those beside them, and weights after every step, of one process."""
        model = self.model().train()
        if not self.dropout:
            model.double().encoder.set_padding("the judge pads")
        optimizer = torch.optim.SGD(model.parameters(), lr=self.config.optim.lr)
        losses, others, weights = [], [], []
        for step in range(STEPS):
            if self.dropout:
                vectors = self._replayed(model, step, world)
            else:
                vectors = self.together(model, step)
            temperature = torch.tensor(self.config.loss.temperature)
            if model.temperature is not None:
                temperature = model.temperature.log.exp()
            loss, beside = self.loss(vectors, temperature, step), self.others(vectors, step)
            weighted = [getattr(self.config, n).weight * value for n, value in beside.items()]
            sum(weighted, loss).backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            others.append({name: value.item() for name, value in beside.items()})
            weights.append({name: part.clone() for name, part in model.state_dict().items()})
        return losses, others, weights

    def together(self, model: BiEncoder, step: int) -> "Vectors":
        """The whole batch at once."""
        batch = self.plan.batch(step)
        queries = pooled(model, self.tokens.queries(self.store.queries(batch.query_row)))
        passages = pooled(model, self.tokens.passages(self.store.passages(batch.passage_row)))
        translations = self._translations(model, batch)
        if batch.negatives is None:
            return Vectors(queries, passages, passages[:0], [], translations)
        texts = self.store.passage_texts(batch.negatives.passages)
        negatives = pooled(model, self.tokens.passages(texts))
        return Vectors(queries, passages, negatives, texts, translations)

    def _translations(self, model: BiEncoder, batch: GlobalBatch) -> tuple[Tensor, Tensor] | None:
        parallel = batch.parallel
        if parallel is None or not parallel.aligned.any():
            return None
        none = torch.empty(0)
        queries, passages = parallel.query_row, parallel.passage_row
        return (
            none
            if queries is None
            else pooled(model, self.tokens.queries(self.store.queries(queries[parallel.aligned]))),
            none
            if passages is None
            else pooled(
                model, self.tokens.passages(self.store.passages(passages[parallel.aligned]))
            ),
        )

    def _replayed(self, model: BiEncoder, step: int, world: int) -> "Vectors":
        """Every rank's chunks in turn, each kept in memory, under that rank's random numbers."""
        batch = self.plan.batch(step)
        vectors_of_batches: list[tuple[Tensor, Tensor, Tensor]] = []
        order = []
        for rank in range(world):
            work = next(self.feed(Ranks(rank, world)).steps(step, step + 1))
            torch.manual_seed(seed_of(rank, step))
            for chunk in work.chunks:
                queries, candidates, _ = model([chunk])
                rows = len(queries)
                vectors_of_batches.append((queries, candidates[:rows], candidates[rows:]))
            order.append(work.shard.rows)
        queries, passages, negatives = (
            torch.cat(parts) for parts in zip(*vectors_of_batches, strict=True)
        )
        of = np.concatenate(order)
        assert batch.negatives is not None
        drawn = batch.negatives.passages[batch.negatives.of(of)]
        at = torch.from_numpy(of).argsort()
        return Vectors(queries[at], passages[at], negatives, self.store.passage_texts(drawn))


def seed_of(rank: int, step: int) -> int:
    return 1000 * (rank + 1) + step


def model_folder(toy: Path, kind: str) -> Path:
    """The toy model's tokenizer, with the sizes of another type of model."""
    from transformers import AutoConfig

    if not kind:
        return toy / "model"
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(toy / "model", folder, dirs_exist_ok=True)
    toys = json.loads((folder / "config.json").read_text())
    kept = ("vocab_size", "hidden_size", "num_attention_heads", "pad_token_id")
    sizes = {name: toys[name] for name in kept} | {"num_hidden_layers": 3, "intermediate_size": 48}
    config = AutoConfig.for_model(kind, **(KINDS[kind] | sizes | {"num_key_value_heads": 1}))
    config.save_pretrained(folder)
    return folder


def config_of(toy: Path, options: dict[str, Any], world: int) -> Config:
    most = -(-SIZE // world)
    kind = options.get("kind", "")
    chunk_size = -(-most // min(options.get("chunks", 1), SIZE // world))
    return Config(
        model=Model(
            name_or_path=str(model_folder(toy, kind)),
            init="scratch",
            pooling=options.get("pooling", "mean"),
            attention=options.get("attention", "auto"),
            lora_rank=options.get("lora_rank", 0),
            max_passage_tokens=128,
            dropout=None if kind else options.get("dropout", 0.0),
            attention_dropout=None if kind else 0.0,
        ),
        batching=Batching(
            size=SIZE,
            mix=Mix(monolingual=1, cross_lingual=1, multilingual=1),
            hard_negatives=options.get("negatives", 0),
            false_negatives="margin" if "margin" in options else "mask",
            margin=options.get("margin", 0.0),
            margin_scores="teacher" if "margin" in options and "stored" in options else "own",
        ),
        loss=Loss(
            symmetric=options.get("symmetric", False),
            learn_temperature=options.get("learn_temperature", False),
            **options.get("loss", {}),
        ),
        align=Align(**options.get("align", {})),
        distill=Distill(
            **{"teacher": STORED if "stored" in options else "", **options.get("distill", {})}
        ),
        optim=Optim(lr=0.1, schedule="constant", max_grad_norm=0.0),
        train=Train(
            steps=STEPS,
            precision="fp32",
            chunk_size=chunk_size,
            sparse_vocabulary=options.get("sparse_vocabulary", "auto"),
            frozen_layers=options.get("frozen_layers", 0),
        ),
    )


def pooled(model: BiEncoder, texts: PackedTexts) -> Tensor:
    """Of padded rows, through transformers' own attention: means, or LaBSE's pooler."""
    rows, real = texts.padded(model.encoder.backbone.config.pad_token_id)
    output = model.encoder.backbone(**rows)
    if model.encoder.pooling == "labse":
        return functional.normalize(output.pooler_output, dim=-1)
    hidden, mask = output.last_hidden_state, real[..., None].double()
    if model.encoder.pooling == "last":
        last = hidden[torch.arange(len(real)), real.sum(1) - 1]
        return functional.normalize(last, dim=-1)
    return functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


@contextmanager
def counted(calls: Counter[str]) -> Iterator[None]:
    """Count the collectives that this process takes part in."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        yield
    # the raw events, since key_averages() takes seconds for those of a step
    for event in profile.profiler.kineto_results.events():
        if event.name().startswith("c10d::"):
            calls[event.name().removeprefix("c10d::").strip("_")] += 1


def compare(case: Case, accelerator: Any, ranks: Ranks) -> dict[str, Any] | None:
    model = case.model()
    choose_attention(model.encoder, torch.float32, ranks)
    if case.options.get("compile"):  # this backend traces as the real one, and writes no kernels
        compile_layers(model.encoder, backend="aot_eager")
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    frozen = [name for name, part in model.named_parameters() if not part.requires_grad]
    optimizer = Sgd([part for part in model.parameters() if part.requires_grad], 0.1)
    teacher = case.teacher()
    if teacher is not None:
        teacher.place(ranks)
    updater = Updater(case.config, accelerator, ranks, model, optimizer, teacher)
    losses, weights, masked, calls = [], [], 0, Counter[str]()
    others: list[dict[str, float]] = []
    for step, work in enumerate(case.feed(ranks, teacher).steps(0, STEPS)):
        torch.manual_seed(seed_of(ranks.rank, step))
        last = step == STEPS - 1  # DDP has settled its buckets by then
        with counted(calls) if last else nullcontext():
            updated = updater.update(work)
        losses.append(over_ranks(ranks, updated.loss.share))
        others.append({name: over_ranks(ranks, o.share) for name, o in updated.others.items()})
        masked += work.batch.false_negatives()
        if 0 < step < STEPS - 1:
            continue  # asking for weights in between could hide that they were not renewed
        state = accelerator.get_state_dict(updater.model)
        weights.append({name: part.cpu().clone() for name, part in (state or {}).items()})
    if not ranks.is_first:
        return None
    wanted_losses, wanted_others, wanted = case.judged(ranks.world)
    result = {
        "options": case.name,
        "gradient_error": apart(weights[0], wanted[0], initial),  # SGD: a step is the gradient
        "update_error": apart(weights[-1], wanted[-1], initial),
        "loss_error": float(np.max(np.abs(np.array(losses) / np.array(wanted_losses) - 1))),
        "other_losses": others,
        "wanted_other_losses": wanted_others,
        "masked": masked,
        "chunks": len(work.chunks),
        "own_chunks": case.own_chunks(ranks.world, case.chunk_tokens(ranks.world))
        if case.options.get("chunk_tokens")
        else None,
        "collectives": dict(calls),
        "frozen": {name: weights[-1][name].equal(initial[name]) for name in frozen},
        "used_rows": updater.vocabulary.rows if updater.vocabulary is not None else None,
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
    }
    if case.config.loss.learn_temperature:
        one, other = (
            {"temperature.log": part["temperature.log"]} for part in (weights[0], wanted[0])
        )
        result["temperature_error"] = apart(one, other, initial)
    return result


def over_ranks(ranks: Ranks, share: Tensor) -> float:
    return float(ranks.sum(share.double().reshape(1).cpu().numpy())[0])


def apart(
    actual: dict[str, Tensor], wanted: dict[str, Tensor], initial: dict[str, Tensor]
) -> float:
    """How far two changes of the weights are apart, relative to the second."""
    moved, should = (
        torch.cat([(weights[key].double() - initial[key]).flatten() for key in wanted])
        for weights in (actual, wanted)
    )
    return float((moved - should).norm() / should.norm())


class Sgd(torch.optim.SGD):
    """Plain SGD that skips the updates that the updater marks, as fused AdamW does."""

    found_inf: Tensor | None = None

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        skipped, self.found_inf, self.grad_scale = self.found_inf, None, None
        if skipped is None or not skipped:
            super().step(closure)


def started() -> tuple[Any, Ranks]:
    """Under `accelerate launch` by its launcher file, under torchrun FSDP2."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return start_fsdp2()
    accelerator, ranks = start("fp32", max_grad_norm=0.0)
    if strategy(accelerator) == "zero3":  # else so small a model is not sharded at all
        terms = accelerator.state.deepspeed_plugin.deepspeed_config
        terms["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    return accelerator, ranks


def main() -> None:
    toy, names = Path(sys.argv[1]), sys.argv[2:] or list(OPTIONS)
    accelerator, ranks = started()
    if ranks.world != int(os.environ["WORLD_SIZE"]):
        raise SystemExit(f"{ranks.world} ranks")
    pairs = ranks.broadcast_from_first(str(pairs_with_shared_passages(toy)))
    for name in names:
        case = Case(toy, name, pairs, ranks.world, strategy(accelerator))
        result = compare(case, accelerator, ranks)
        accelerator.free_memory()  # else DeepSpeed goes on with the first model
        if accelerator.is_fsdp2:  # it keeps the layer classes of the first model
            accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap = None
        if result is not None:
            print("RESULT " + json.dumps(result), flush=True)
    exit_process()


if __name__ == "__main__":
    main()
