"""Updates that are not finite, memory that does not suffice: what is skipped, what ends a run."""

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
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.host_copy import HostCopy
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.progress import Progress
from hybrid_dist.training.feed import StepInputs
from hybrid_dist.training.step import Result

IN_A_ROW = 20
"""So many updates skipped one after the other end a run; fp16 needs up to 16 to find its scale."""


@dataclass(frozen=True)
class Update:
    """What is remembered of an update until its flag has come from the device."""

    step: int
    batch: GlobalBatch
    broken: Tensor
    skipped: HostCopy


class Health:
    """Counts updates that were skipped. Every rank counts alike: they share the gradient."""

    def __init__(self, file: Path, stores: Sequence[Store], ranks: Ranks, steps: int) -> None:
        self._file, self._stores, self._ranks, self._steps = file, stores, ranks, steps
        self._in_a_row = 0
        self._unread = deque[Update]()

    @property
    def sound(self) -> bool:
        """Whether the last update was made, so that the weights before it are worth keeping."""
        return self._in_a_row == 0

    def note(self, step: int, work: StepInputs, result: Result) -> None:
        """Remember an update; the device is not waited for."""
        flag = HostCopy(result.skipped)
        self._unread.append(Update(step, work.batch, result.loss.num_nonfinite, flag))

    def counted(self, progress: Progress, now: bool) -> Progress:
        """Count all updates but the last, whose flag may be on its way; `now`: that one too.

        Too many skipped in a row end the run, at its last step two.
        """
        while len(self._unread) > (0 if now else 1):
            update = self._unread.popleft()
            if not update.skipped.read():
                self._in_a_row = 0
                continue
            self._in_a_row += 1
            progress = replace(progress, skipped=progress.skipped + 1)
            if self._in_a_row >= (2 if update.step == self._steps else IN_A_ROW):
                self._refuse(update)
        return progress

    def _refuse(self, update: Update) -> None:
        """End the run, and leave what was in the batch for the one who looks into it."""
        broken = self._ranks.gather(int(update.broken))
        if self._ranks.is_first:
            store = self._stores[update.batch.stream.source]
            told = {
                "step": update.step,
                "stream": update.batch.stream.name,
                "broken_vectors_by_rank": broken,
                "uids": store.uids(update.batch.query_row),
            }
            self._file.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")
        ranks = ", ".join(str(rank) for rank, count in enumerate(broken) if count)
        where = f" (its vectors are not on rank {ranks})" if ranks else ""
        raise UserError(
            f"train/loss is not finite at step {update.step}{where}; {self._in_a_row} updates in a "
            f"row were left out; {self._file} has the batch's uids; start another run.name with a "
            "lower optim.lr, more optim.warmup_steps or another train.precision"
        )

    @contextmanager
    def explain_oom(self, work: StepInputs) -> Iterator[None]:
        """Out of memory: say which chunk size is worth the next try."""
        try:
            yield
        except torch.OutOfMemoryError:
            pairs = max(len(chunk.queries.sizes) for chunk in work.chunks)
            cure = (
                f"set train.chunk_size to {pairs // 2}, which changes memory and nothing else"
                if pairs > 1
                else "lower model.max_passage_tokens, set train.gradient_checkpointing to true, "
                "or take launchers/zero3.yaml or fsdp2.yaml"
            )
            raise UserError(
                f"out of memory on rank {self._ranks.rank} ({self._ranks.device}) at step "
                f"{work.batch.step + 1}, with {pairs} pairs in a chunk; {cure}"
            ) from None
