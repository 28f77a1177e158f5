"""Batches ready before they are needed: read and tokenised ahead in a thread."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from hybrid_dist.batching import GlobalBatch, Plan, Share, deal
from hybrid_dist.cluster.ranks import Ranks
from hybrid_dist.data.store import Store
from hybrid_dist.loss.contrastive import Rows
from hybrid_dist.model.encoder import Chunk
from hybrid_dist.model.tokens import TextTokens

AHEAD = 3


@dataclass(frozen=True)
class Work:
    """What one rank does in one step."""

    batch: GlobalBatch
    share: Share
    """Which rows of the batch are this rank's."""
    chunks: list[Chunk]
    rows: Rows


class Feed:
    """Turns steps of the plan into this rank's work."""

    def __init__(
        self,
        plan: Plan,
        stores: Sequence[Store],
        tokens: TextTokens,
        ranks: Ranks,
        chunk_size: int,
        mask: bool,
    ) -> None:
        self._plan, self._stores, self._tokens = plan, stores, tokens
        self._ranks, self._chunk_size, self._mask = ranks, chunk_size, mask

    def steps(self, first: int, last: int) -> Iterator[Work]:
        """The work of steps first .. last - 1, in order."""
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
            waiting: list[Future[Work]] = []
            try:
                for step in range(first, last):
                    waiting.append(pool.submit(self._prepare, step))
                    if len(waiting) > AHEAD:
                        yield self._on_device(waiting.pop(0).result())
                while waiting:
                    yield self._on_device(waiting.pop(0).result())
            finally:
                pool.shutdown(cancel_futures=True)

    def _prepare(self, step: int) -> Work:
        batch = self._plan.batch(step)
        share = deal(batch.lengths, self._ranks.rank, self._ranks.world, self._chunk_size)
        return Work(
            batch,
            share,
            [self._chunk(batch, share, cut) for cut in share.chunks],
            self._rows(batch, share),
        )

    def _chunk(self, batch: GlobalBatch, share: Share, cut: slice) -> Chunk:
        rows, store = share.rows[cut], self._stores[batch.stream.source]
        return Chunk(
            self._tokens.queries(store.queries(batch.query_row[rows])),
            self._tokens.passages(store.passages(batch.passage_row[rows])),
        )

    def _rows(self, batch: GlobalBatch, share: Share) -> Rows:
        return Rows(
            rank=self._ranks.rank,
            counts=share.counts,
            groups=torch.from_numpy(batch.groups[share.order]) if self._mask else None,
        )

    def _on_device(self, work: Work) -> Work:
        device = self._ranks.device
        if device.type == "cpu":
            return work
        chunks = [chunk.to(device) for chunk in work.chunks]
        groups = None if work.rows.groups is None else work.rows.groups.to(device)
        return replace(work, chunks=chunks, rows=replace(work.rows, groups=groups))
