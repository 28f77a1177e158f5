"""Non-finite updates and out-of-memory errors: what is skipped and what ends a run."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hybrid_dist.batching import GlobalBatch
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import DeviceMemoryError, NotFiniteError
from hybrid_dist.runtime.files import write_atomically
from hybrid_dist.runtime.host_copy import HostCopy
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.feed import StepInputs
from hybrid_dist.training.step import Result

MAX_CONSECUTIVE = 20
"""Consecutive skipped updates that end a run; fp16 needs up to 16 to find its loss scale."""


@dataclass(frozen=True)
class Update:
    """An update whose flag has not been read from the device yet."""

    step: int
    batch: GlobalBatch
    num_nonfinite: Tensor
    skipped: HostCopy


class Health:
    """Counts skipped updates. Every rank counts the same ones, since they share the gradient."""

    def __init__(
        self,
        file: Path,
        stores: Sequence[Store],
        ranks: Ranks,
        steps: int,
        least_tokens: int = 0,
    ) -> None:
        """`least_tokens`: the lowest possible train.chunk_tokens, if chunks are cut by tokens."""
        self._file, self._stores, self._ranks, self._steps = file, stores, ranks, steps
        self._least_tokens = least_tokens
        self._consecutive = 0
        self._unread = deque[Update]()

    @property
    def sound(self) -> bool:
        """Whether the last update was applied, so that the weights are worth saving."""
        return self._consecutive == 0

    def note(self, step: int, work: StepInputs, result: Result) -> None:
        """Remember an update; does not wait for the device."""
        flag = HostCopy(result.skipped)
        self._unread.append(Update(step, work.batch, result.loss.num_nonfinite, flag))

    def counted(self, progress: Progress, now: bool) -> Progress:
        """Count skipped updates up to the last but one, whose successor's flag may still be on the
        device; `now`: count the last one too.

        Raises a NotFiniteError after too many consecutive ones: two are enough at the last step.
        """
        while len(self._unread) > (0 if now else 1):
            update = self._unread.popleft()
            if not update.skipped.read():
                self._consecutive = 0
                continue
            self._consecutive += 1
            progress = replace(progress, skipped=progress.skipped + 1)
            if self._consecutive >= (2 if update.step == self._steps else MAX_CONSECUTIVE):
                self._give_up(update)
        return progress

    def _give_up(self, update: Update) -> None:
        """End the run; the first rank writes down the batch for whoever investigates."""
        broken = self._ranks.gather(int(update.num_nonfinite))
        if self._ranks.is_first:
            store = self._stores[update.batch.stream.source]
            description = {
                "step": update.step,
                "stream": update.batch.stream.name,
                "broken_vectors_by_rank": broken,
                "uids": store.uids(update.batch.query_row),
            }
            write_atomically(self._file, json.dumps(description, ensure_ascii=False) + "\n")
        ranks = ", ".join(str(rank) for rank, count in enumerate(broken) if count)
        where = f" (its vectors are not on rank {ranks})" if ranks else ""
        raise NotFiniteError(
            f"the gradient is not finite at step {update.step}{where}; {self._consecutive} updates "
            f"in a row were skipped; {self._file} has the batch's uids; start another run.name "
            "with a lower optim.lr, more optim.warmup_steps or another train.precision"
        )

    @contextmanager
    def explain_oom(self, work: StepInputs) -> Iterator[None]:
        """Turn an out-of-memory error into one that names the chunk size to try next."""
        try:
            yield
        except torch.OutOfMemoryError:
            pairs = max(len(chunk.queries.sizes) for chunk in work.chunks)
            smaller = self._smaller_chunks(work, pairs)
            remedy = (
                f"set train.{smaller}, which changes memory and nothing else"
                if smaller
                else "lower model.max_passage_tokens, set train.gradient_checkpointing to true, "
                "or use launchers/zero3.yaml or fsdp2.yaml"
            )
            raise DeviceMemoryError(
                f"out of memory on rank {self._ranks.rank} ({self._ranks.device}) at step "
                f"{work.batch.step + 1}, with {pairs} pairs in a chunk; {remedy}"
            ) from None

    def _smaller_chunks(self, work: StepInputs, pairs: int) -> str:
        """The key and value that halve the chunks; empty if they cannot be smaller."""
        if not self._least_tokens:
            return f"chunk_size to {pairs // 2}" if pairs > 1 else ""
        largest = max(
            chunk.queries.ids.numel() + chunk.candidates.ids.numel() for chunk in work.chunks
        )
        half = max(largest // 2, self._least_tokens)
        return f"chunk_tokens to {half}" if half < largest else ""
