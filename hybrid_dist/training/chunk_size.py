"""`train.chunk_size: auto`: the largest chunks that fit in the memory of every rank.

Each rank tries the heaviest of some steps of the plan in 1, 2, 3, 4, 6, 8, 12, ... chunks, until a
forward and a backward pass fit; the smallest size of any rank counts. Trials exchange nothing, so
ranks may stop at different sizes. They leave no gradients, and the random state is set afterwards.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid_dist.batching import Plan, shard_batch
from hybrid_dist.errors import LaunchError, UserError
from hybrid_dist.model.encoder import BiEncoder, Chunk
from hybrid_dist.runtime.host_memory import free_memory
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.feed import Feed, StepInputs
from hybrid_dist.training.teacher import Teacher

STEPS = 64
"""Steps of the plan whose heaviest is tried."""
CARD_SHARE = 0.95
"""Share of a GPU's memory that a trial may use; the rest is for NCCL and for heavier steps."""
HOST_SHARE = 0.5
"""Share of the free main memory that the processes of a machine may use."""
STRATEGIES = ("single", "ddp")


@dataclass(frozen=True)
class Trial:
    """What is tried on this rank."""

    model: BiEncoder
    feed: Callable[[int], Feed]
    """The feed of a chunk size."""
    plan: Plan
    ranks: Ranks
    steps: int
    """Steps of the run."""
    reserve: int
    """Bytes that a step needs beside the encoder: AdamW's states and the loss."""
    teacher: Teacher | None = None
    """Encodes while the student's activations are kept."""

    def heaviest_step(self) -> int:
        """The step whose rows on this rank are longest together, of STEPS spread over the run."""
        spread = np.unique(np.linspace(0, self.steps - 1, STEPS).astype(np.int64)).tolist()

        def length(step: int) -> int:
            lengths = self.plan.batch(step).lengths
            rows = shard_batch(lengths, self.ranks.rank, self.ranks.world, chunk_size=0).rows
            return int(lengths[rows].sum())

        return max(spread, key=length)

    def fits(self, step: int, size: int) -> bool:
        """Whether a step in chunks of `size` pairs fits in this rank's memory."""
        work = self.feed(size).inputs(step)
        try:
            if self.ranks.device.type == "cpu":  # a process that takes too much is killed
                free = HOST_SHARE * free_memory() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
                if self.reserve + self._estimate(work) > free:
                    return False
            self._run(work)
        except torch.OutOfMemoryError:
            return False
        finally:
            self.model.zero_grad(set_to_none=True)
            if self.ranks.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def _run(self, work: StepInputs) -> None:
        """A forward and a backward pass, with memory set aside for the rest of a step."""
        device = self.ranks.device
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(CARD_SHARE, device)
        try:
            others = torch.empty(
                self.reserve if device.type == "cuda" else 0, dtype=torch.uint8, device=device
            )
            queries, candidates, temperature = self.model(work.chunks)
            if self.teacher is not None and work.teacher is not None:
                self.teacher.vectors(work.teacher)
            (queries.sum() + candidates.sum() + temperature.sum()).backward()
            del others
        finally:
            if device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(1.0, device)

    def _estimate(self, work: StepInputs) -> int:
        """Bytes that autograd saves for the heaviest chunk, on the line through those of one and of
        four pairs, by the tokens that are computed."""
        few = [self.feed(size).inputs(work.batch.step).chunks[-1] for size in (1, 4)]
        (tokens, kept), (more, kept_for_more) = ((self._tokens(c), self._saved(c)) for c in few)
        slope = (kept_for_more - kept) / (more - tokens) if more > tokens else kept / tokens
        heaviest = work.chunks[-1]  # holds the longest rows
        return int(kept + slope * (self._tokens(heaviest) - tokens))

    def _saved(self, chunk: Chunk) -> int:
        """Bytes that autograd saves for a chunk, copies of weights included."""
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        weights = {part.untyped_storage().data_ptr() for part in self.model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = self.model([chunk])
        kept = sum(size for pointer, size in saved.items() if pointer not in weights)
        del outputs
        return kept

    def _tokens(self, chunk: Chunk) -> int:
        """Tokens that are computed, padding included."""
        parts = (chunk.queries.sizes, chunk.candidates.sizes)
        if self.model.encoder.padding_reason is None:
            return sum(map(sum, parts))
        return sum(len(sizes) * max(sizes) for sizes in parts)


def largest_chunk_size(trial: Trial, say: Callable[[str], None]) -> int:
    """The largest number of pairs in a chunk that fits on all ranks; they call it together."""
    begin, ranks = time.perf_counter(), trial.ranks
    step, rows = trial.heaviest_step(), -(-trial.plan.size // ranks.world)
    own = next((size for size in chunk_sizes(rows) if trial.fits(step, size)), 0)
    of_ranks = ranks.gather(own)
    if not (size := min(of_ranks)):
        short = ", ".join(str(rank) for rank, fitting in enumerate(of_ranks) if not fitting)
        raise UserError(
            f"train.chunk_size: auto: not even one pair fits in the memory of rank {short}; "
            "lower model.max_passage_tokens, set train.gradient_checkpointing to true, or use "
            "launchers/zero3.yaml or fsdp2.yaml with a number"
        )
    could = ", ".join(map(str, of_ranks))
    differing = f" (the ranks could take {could})" if len(set(of_ranks)) > 1 else ""
    chunks = -(-rows // size)
    say(
        f"train.chunk_size: auto is {size} pairs{differing}, so {chunks} "
        f"{'chunk' if chunks == 1 else 'chunks'} a step; "
        f"measured in {time.perf_counter() - begin:.1f} s"
    )
    return size


def chunk_sizes(rows: int) -> Iterator[int]:
    """Pairs in a chunk if rows are split into 1, 2, 3, 4, 6, 8, 12, ... chunks; down to 1."""
    last = 0
    for power in range(rows.bit_length() + 1):
        for chunks in (2**power, 3 * 2**power // 2):
            if (size := -(-rows // chunks)) != last:
                yield size
            last = size


def steady_chunks(plan: Plan, world: int, chunk_tokens: int, strategy: str) -> int:
    """The fewest chunks that a step makes under `train.chunk_tokens`.

    Under ZeRO-3 the most that any of the first STEPS needs: DeepSpeed records the order in which
    modules run, and in a step with another number of chunks it gathers weights for every chunk.
    """
    if not chunk_tokens or strategy != "zero3":
        return 1
    return max(
        len(shard_batch(plan.batch(step).lengths, 0, world, 0, chunk_tokens).chunks)
        for step in range(STEPS)
    )


def check_strategy(strategy: str) -> None:
    """Reject `auto` where a trial would exchange weights between ranks."""
    if strategy not in STRATEGIES:
        raise LaunchError(
            "train.chunk_size: auto cannot be measured where weights are sharded (FSDP2, ZeRO): a "
            "rank that runs out of memory would leave the others waiting for its weights; give a "
            "number (launchers/README.md has the bytes of a token), or use launchers/ddp.yaml"
        )


def reserved_bytes(model: BiEncoder, optimizer: Any, vectors: int) -> int:
    """Bytes of a step beside the encoder: AdamW's states, if they do not exist yet; so many vectors
    [vectors, D] of all ranks in fp32, and their gradients."""
    trained = (part.numel() for part in model.parameters() if part.requires_grad)
    states = 0 if optimizer.state else 8 * sum(trained)
    return states + 2 * 4 * model.encoder.width * vectors
