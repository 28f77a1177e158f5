"""The meters' record of a few updates on several ranks, and the same by plain float64 arithmetic.

The judge takes whole batches in one process: matrices of all cosines, sums over texts of the store,
languages by their names. Prints one line of JSON for each set of options, from the first rank.
"""

import json
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional

from hybrid_dist.losses.reference import masked_negatives, reference_info_nce
from hybrid_dist.runtime.launch import start
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.training.flops import Flops
from hybrid_dist.training.initial_model import choose_attention
from hybrid_dist.training.meters import Meters
from hybrid_dist.training.objective import loss_options
from hybrid_dist.training.step import Updater
from tests.launched.scripts.updates import SIZE, Case, Sgd, pairs_with_shared_passages
from tests.support.meters import OPTIONS

STEPS, SECONDS, PEAK = 6, 2.0, 1e9
LEFT_OUT = {"plain": 2}
"""A step whose update is skipped: it takes time, but its loss is not a number."""


class SelectionMetric:
    """Sums over whole batches of an untrained model."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._model = case.model().double().eval()
        self._model.encoder.set_padding("the judge pads")
        table = case.store.table().to_pydict()
        self._language = table["lang"]
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    @torch.no_grad()
    def add(self, step: int) -> None:
        case, batch = self._case, self._case.plan.batch(step)
        vectors = case.together(self._model, step)
        temperature = torch.tensor(case.config.loss.temperature)
        scores, rows = case.scores(vectors, temperature, step), torch.arange(SIZE)
        candidates = torch.cat([vectors.passages, vectors.negatives])
        by_id = int(scores.isinf().sum())
        if case.config.batching.false_negatives == "margin":
            options, ids = loss_options(case.config), case.ids(step)
            by_score = masked_negatives(vectors.queries, candidates, ids, options)
            scores = scores.masked_fill(by_score, -torch.inf)
            for rule, count in (("id", by_id), ("score", int(scores.isinf().sum()) - by_id)):
                self.sums[f"false_negatives/{rule}"] += count
                self.counts[f"false_negatives/{rule}"] += 1
        losses = functional.cross_entropy(scores, rows, reduction="none")
        if case.config.loss.symmetric:
            back = functional.cross_entropy(scores[:, :SIZE].T, rows, reduction="none")
            losses = (losses + back) / 2
        if dims := case.config.loss.dims:
            ids, of_widths = case.ids(step), []
            for width in (vectors.queries.shape[1], *dims):
                queries, others = (
                    functional.normalize(part[:, :width], dim=1)
                    for part in (vectors.queries, candidates)
                )
                of_widths.append(reference_info_nce(queries, others, temperature, ids))
                self.sums[f"loss_by_dims/{width}"] += float(of_widths[-1].mean())
                self.counts[f"loss_by_dims/{width}"] += 1
            losses = torch.stack(of_widths).mean(0)
        query_languages, passage_languages = (
            [self._language[row] for row in of] for of in (batch.query_row, batch.passage_row)
        )
        for language, other, loss in zip(
            query_languages, passage_languages, losses.tolist(), strict=True
        ):
            of_pair, of_language = (
                f"loss_by_pair/{language}_to_{other}",
                f"loss_by_language/{language}",
            )
            for name in (of_pair, of_language, f"loss/{batch.kind}", "loss"):
                self.sums[name] += loss
                self.counts[name] += 1
        cosines = vectors.queries @ torch.cat([vectors.passages, vectors.negatives]).T
        own, masked = torch.eye(*cosines.shape, dtype=torch.bool), scores.isinf()
        for name, chosen in (("positive", own), ("negative", ~own & ~masked)):
            self.sums[f"similarity/{name}"] += cosines[chosen].sum().item()
            self.counts[f"similarity/{name}"] += int(chosen.sum())
        if case.mask:  # else equal texts tie, and rounding decides
            self.sums["accuracy"] += int((scores.argmax(1) == rows).sum())
            self.counts["accuracy"] += SIZE
        for name, loss in case.others(vectors, step).items():
            self.sums[f"{name}_loss"] += loss.item()
            self.counts[f"{name}_loss"] += 1
        self.sums["false_negatives"] += int(masked.sum())
        self.counts["false_negatives"] += 1

    def expected(self, world: int) -> dict[str, float]:
        sizes, kinds = self._sizes(), Counter(map(self._kind, range(STEPS)))
        backbone = self._model.encoder.backbone
        layers = backbone.encoder.layer
        weights = sum(part.numel() for part in layers.parameters())
        attended = 12 * len(layers) * backbone.config.hidden_size * sum(n * n for n in sizes)
        return {
            **{f"train/{name}": self.sums[name] / n for name, n in self.counts.items()},
            **{f"train/batches/{kind}": count for kind, count in kinds.items()},
            "system/pairs_per_s": STEPS * SIZE / SECONDS,
            "system/tokens_per_s": sum(sizes) / SECONDS,
            "system/step_ms": 1000 * SECONDS / STEPS,
            "system/mfu_pct": 100 * (6 * weights * sum(sizes) + attended) / SECONDS / PEAK / world,
        }

    def _kind(self, step: int) -> str:
        return self._case.plan.batch(step).kind

    def _sizes(self) -> list[int]:
        """Tokens of every text, hard negatives included."""
        case, sizes = self._case, list[int]()
        for step in range(STEPS):
            batch = case.plan.batch(step)
            sizes += case.tokens.queries(case.store.queries(batch.query_row)).sizes
            sizes += case.tokens.passages(case.store.passages(batch.passage_row)).sizes
            if batch.negatives is not None:
                texts = case.store.passage_texts(batch.negatives.passages)
                sizes += case.tokens.passages(texts).sizes
            if batch.parallel is not None and batch.parallel.query_row is not None:
                texts = case.store.queries(batch.parallel.query_row[batch.parallel.aligned])
                sizes += case.tokens.queries(texts).sizes
        return sizes


def main() -> None:
    toy = Path(sys.argv[1])
    accelerator, ranks = start("fp32")
    pairs = ranks.broadcast_from_first(str(pairs_with_shared_passages(toy)))
    for name in OPTIONS:
        case = Case(toy, name, pairs, ranks.world)
        still = replace(case.config, optim=replace(case.config.optim, lr=1e-12))
        model = case.model()
        choose_attention(model.encoder, torch.float32, ranks)
        options, width = loss_options(case.config), model.encoder.width
        flops = Flops.of(model.encoder.backbone)
        meters = Meters(ranks, case.plan, flops, 0, options, width)
        meters._peak = PEAK  # as if this were a card of the table
        updater = Updater(still, accelerator, ranks, model, Sgd(model.parameters(), 0.1))
        for work in case.feed(ranks).steps(0, STEPS):
            meters.wait(0.25)
            result = updater.update(work)
            if work.batch.step == LEFT_OUT.get(name):
                loss = replace(result.loss, share=result.loss.share * torch.nan)
                result = replace(result, loss=loss, skipped=torch.ones_like(result.skipped))
            meters.note(work, result)
        actual = meters.read(SECONDS, SIZE)
        accelerator.free_memory()
        if ranks.is_first:
            judge = SelectionMetric(case)
            for step in range(STEPS):
                if step != LEFT_OUT.get(name):
                    judge.add(step)
            summary = {"options": name, "actual": actual, "expected": judge.expected(ranks.world)}
            print("RESULT " + json.dumps(summary), flush=True)
    exit_process()


if __name__ == "__main__":
    main()
