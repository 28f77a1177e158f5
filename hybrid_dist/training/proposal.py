"""A config for a user's own pairs: values that suit the data and the machine, and why.

docs/choosing.md has what is behind the choices.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hybrid_dist.data.holding_out import FEWEST_TRANSLATED
from hybrid_dist.errors import short_list
from hybrid_dist.model.starting_point import Sizes, StartingPoint
from hybrid_dist.model.text_checks import Side
from hybrid_dist.runtime.machine import Machine
from hybrid_dist.training.pair_facts import PairFacts

TRAIN, DEV, HELD_OUT = "pairs/train", "pairs/dev.jsonl", "pairs/heldout.jsonl"
"""Where `hybrid-dist init` puts the pairs, below the folder that it fills."""
SHORTEST = 16
"""The least maximum length, in tokens."""
CPU_PASSAGE_TOKENS, CPU_STEP_TOKENS = 128, 4096
LARGEST_BATCH, LARGEST_CPU_BATCH, SMALLEST_BATCH = 1024, 64, 8
BATCHES_OF_A_LANGUAGE = 4
"""A pass over a language is so many batches at least: otherwise its batches are all alike."""
RARE = 0.01
"""Languages with a smaller share of the pairs do not make batches smaller."""
MOST_REPEATED = 10
"""How often a run may draw the same translated uid for cross-lingual batches."""
PASSES = 3
STEPS, CPU_STEPS = (100, 10_000), (20, 50)
"""The fewest and the most."""
SHORT_RUN = 200
"""Steps up to which the learning rate is the higher one."""
UNEVEN = 3
"""A largest language of so many times the smallest is drawn less often than its pairs say."""
BYTES_PER_WEIGHT = 16
"""Weights, gradients and AdamW's states; launchers/README.md has the formulas."""
ACTIVATION_BYTES = 66
"""Of a layer, for each token and unit of width, in fp32."""


@dataclass(frozen=True)
class Setting:
    """A value of a config and the reason for it."""

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Parts:
    """The pairs of each part of the data."""

    train: int
    dev: int
    heldout: int


@dataclass(frozen=True)
class Proposal:
    """The settings for pairs, a model to start from, and a machine."""

    facts: PairFacts
    """Of the pairs to train on."""
    start: StartingPoint
    machine: Machine
    parts: Parts

    def settings(self) -> list[Setting]:
        """In the order of the config's sections."""
        return [
            Setting("run.name", "first", "the run's folder is runs/first"),
            *self._model(),
            *self._data(),
            *self._batching(),
            *self._loss(),
            *self._optim(),
            *self._train(),
            *self._evaluation(),
        ]

    @property
    def on_cpu(self) -> bool:
        return not self.machine.gpus

    @property
    def is_cross_lingual(self) -> bool:
        return self.facts.translated_uids >= FEWEST_TRANSLATED

    @property
    def batch_size(self) -> int:
        sizes = [each.pairs for each in self.facts.languages.values()]
        counted = [size for size in sizes if size >= RARE * self.facts.pairs]
        largest = max(sizes)
        if self.is_cross_lingual:
            counted.append(self.facts.translated_uids)
            largest = min(largest, self.facts.translated_uids)
        least = _power_of_two(min(SMALLEST_BATCH, largest))
        return max(least, _power_of_two(min(self._most, min(counted) // BATCHES_OF_A_LANGUAGE)))

    @property
    def _most(self) -> int:
        if not self.on_cpu:
            return LARGEST_BATCH
        return min(LARGEST_CPU_BATCH, int(CPU_STEP_TOKENS / self.facts.tokens_per_pair))

    @property
    def steps(self) -> int:
        fewest, most = CPU_STEPS if self.on_cpu else STEPS
        return min(most, max(fewest, math.ceil(PASSES * self.facts.pairs / self.batch_size)))

    @property
    def cross_lingual_share(self) -> float:
        """Half, or less where few uids have translations."""
        if not self.is_cross_lingual:
            return 0.0
        most = MOST_REPEATED * self.facts.translated_uids / (self.steps * self.batch_size)
        return min(0.5, max(0.05, math.floor(20 * most) / 20))

    def max_tokens(self, side: Side) -> int:
        longest = self._longest(side)
        most = self.start.spec.max_query_tokens
        if side == "passage":
            most = self.start.spec.max_passage_tokens
            most = min(most, CPU_PASSAGE_TOKENS) if self.on_cpu else most
        return min(most, max(SHORTEST, -(-longest // 8) * 8))

    def _longest(self, side: Side) -> int:
        """In tokens: if unknown, half of the characters, which most scripts do not exceed."""
        longest = self.facts.longest(side)
        return longest if self.facts.in_tokens else -(-longest // 2)

    def _model(self) -> Iterator[Setting]:
        start = self.start
        what = "was trained to retrieve" if start.is_retriever else "is no retriever yet"
        yield Setting("model.name_or_path", start.name, f"it {what}; `init --model` takes another")
        known = "as the model's files say" if start.sizes else "the model could not be looked at"
        yield Setting("model.pooling", start.spec.pooling, known)
        for side in ("query", "passage"):
            prefix = getattr(start.spec, f"{side}_prefix")
            yield Setting(f"model.{side}_prefix", prefix, f"from {start.prefixes_from}")
        sides: tuple[tuple[Side, str], ...] = (("query", "queries"), ("passage", "passages"))
        for side, texts in sides:
            value, longest = self.max_tokens(side), self.facts.longest(side)
            unit = "tokens" if self.facts.in_tokens else "characters"
            reason = f"99% of the {texts} of every language have {longest:,} {unit} or fewer"
            if value < self._longest(side):
                why = "which takes less time on a CPU" if self.on_cpu else "the model's limit"
                reason += f"; longer ones are cut, {why}"
            yield Setting(f"model.max_{side}_tokens", value, reason)

    def _data(self) -> Iterator[Setting]:
        parts = self.parts
        yield Setting("data.train", [TRAIN], f"{parts.train:,} pairs")
        if parts.dev:
            reason = f"{parts.dev:,} pairs that are not trained on; their loss chooses the model"
            yield Setting("data.dev", [DEV], reason)

    def _batching(self) -> Iterator[Setting]:
        size, facts = self.batch_size, self.facts
        yield Setting("batching.size", size, self._reason_for_size())
        share = self.cross_lingual_share
        mix = {"monolingual": round(1 - share, 2), "cross_lingual": share}
        if len(facts.languages) == 1:
            why = "; there is one language"
        elif share == 0.5:
            why = "; half and half, as in the paper (arXiv 2408.10536)"
        elif share:
            why = f"; more batches of them would draw the same ones over {MOST_REPEATED} times"
        else:
            why = ", too few for cross-lingual batches: give translations of a pair the same uid"
        reason = f"{facts.translated_share:.0%} of the pairs have a translation{why}"
        yield Setting("batching.mix", {kind: value for kind, value in mix.items() if value}, reason)
        sizes = [each.pairs for each in facts.languages.values()]
        if max(sizes) > UNEVEN * min(sizes):
            times = max(sizes) / min(sizes)
            reason = f"the largest language has {times:,.0f} times the pairs of the smallest; "
            reason += "they are drawn by the square root of their size"
            yield Setting("batching.language_alpha", 0.5, reason)

    def _reason_for_size(self) -> str:
        size = self.batch_size
        reason = f"{size - 1} negatives for each query, whatever the number of GPUs"
        if self.on_cpu and 2 * size > self._most:
            reason += "; a CPU would take long for more"
        elif size < LARGEST_BATCH:
            reason += "; few, as a language or the translations have few pairs"
        small = [name for name, each in self.facts.languages.items() if each.pairs < size]
        if small:
            reason += f"; too few pairs for monolingual batches: {short_list(small)}"
        return reason

    def _loss(self) -> Iterator[Setting]:
        if self.start.is_retriever:
            yield Setting("loss.temperature", 0.02, "low, as retrievers have been trained with")
        else:
            yield Setting("loss.temperature", 0.05, "the default; the paper does not state its own")

    def _optim(self) -> Iterator[Setting]:
        if self.steps <= SHORT_RUN:
            yield Setting("optim.lr", 5e-5, "higher than the paper's 3e-5, as there are few steps")
        else:
            yield Setting("optim.lr", 3e-5, "the paper's")
        yield Setting("optim.warmup_steps", self.steps // 10, "a tenth of the steps")

    def _train(self) -> Iterator[Setting]:
        machine, passes = self.machine, self.steps * self.batch_size / self.facts.pairs
        reason = f"{passes:.1f} times the number of pairs"
        if self.on_cpu and self.steps == CPU_STEPS[1]:
            reason += "; few, for a first report: give more when it looks right"
        yield Setting("train.steps", self.steps, reason)
        subject = "the GPUs" if machine.gpus else "this processor"
        has = "has" if not machine.gpus else "have"
        what = "instructions for bf16" if machine.has_bf16 else "no instructions for bf16"
        precision = "bf16" if machine.has_bf16 else "fp16" if machine.gpus else "fp32"
        yield Setting("train.precision", precision, f"{subject} {has} {what}")
        if machine.gpus:
            reason = "the largest that fits, measured at the start; FSDP2 and ZeRO want a number"
            yield Setting("train.chunk_size", "auto", reason)
        elif self.start.sizes is not None:
            yield from self._for_cpu(self.start.sizes)

    def _for_cpu(self, sizes: Sizes) -> Iterator[Setting]:
        """Fewer trained layers, and chunks that fit in memory."""
        frozen = sizes.layers * 2 // 3
        if frozen:
            reason = f"of {sizes.layers} layers, and the embeddings: saves time and memory on a CPU"
            yield Setting("train.frozen_layers", frozen, reason)
        trained = sizes.weights(sizes.layers - frozen)
        states = 4 * sizes.weights() + (BYTES_PER_WEIGHT - 4) * trained
        room = self.machine.memory // 2 - states
        tokens = min(
            self.facts.tokens_per_pair, self.max_tokens("query") + self.max_tokens("passage")
        )
        of_a_pair = ACTIVATION_BYTES * (sizes.layers - frozen) * sizes.width * tokens
        chunk = _power_of_two(max(1, int(room / of_a_pair)))
        if chunk < self.batch_size:
            reason = f"{self.machine.memory / 2**30:.1f} GiB of memory are free; half are planned"
            yield Setting("train.chunk_size", chunk, reason)

    def _evaluation(self) -> Iterator[Setting]:
        every = -(-self.steps // (2 if self.on_cpu else 4))
        yield Setting("checkpoint.every", every, "a stopped run resumes from its last checkpoint")
        yield Setting("eval.every", every, "also at the end")
        tasks = [f"heldout=pairs:{HELD_OUT}"]
        reason = f"{self.parts.heldout:,} pairs that are not trained on; compare runs by them"
        yield Setting("eval.tasks", tasks, reason)
        if self.parts.dev:
            reason = "so that the pairs of the report have chosen nothing"
            yield Setting("eval.metric", "dev/loss", reason)


def _power_of_two(most: int) -> int:
    """The largest that is not above `most`."""
    return 1 << max(0, most.bit_length() - 1)
