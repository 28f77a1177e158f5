"""Batches read and tokenized ahead of training, in a thread."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from hybrid_dist.batching import GlobalBatch, Plan, RankShard, shard_batch
from hybrid_dist.batching.language_pairs import LanguagePairs
from hybrid_dist.data.store.reader import Store
from hybrid_dist.losses.alignment import Translations
from hybrid_dist.losses.batch_layout import NO_ID, BatchLayout
from hybrid_dist.model.encoder import Chunk
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.teacher import ChunkTexts, Teacher, TeacherInputs

AHEAD = 3
"""Steps prepared ahead."""


@dataclass(frozen=True)
class StepInputs:
    """The work of one rank in one step."""

    batch: GlobalBatch
    shard: RankShard
    """The rows of the batch that this rank encodes."""
    chunks: list[Chunk]
    layout: BatchLayout
    pairs: torch.Tensor
    """[B] index of the language pair of each of this rank's rows."""
    translations: Translations | None = None
    """None if no row of the global batch is aligned."""
    teacher: TeacherInputs | None = None
    """None if there is no teacher."""

    def pinned(self) -> "StepInputs":
        """The same in pinned memory, from which a GPU copies while the host goes on."""
        chunks = [chunk.pinned() for chunk in self.chunks]
        pairs = self.pairs.pin_memory()
        work = replace(self, chunks=chunks, layout=self.layout.pinned(), pairs=pairs)
        if self.translations is not None:
            work = replace(work, translations=self.translations.pinned())
        return work if self.teacher is None else replace(work, teacher=self.teacher.pinned())

    def to(self, device: torch.device) -> "StepInputs":
        """The same on a device. The host does not wait for pinned inputs."""
        chunks = [chunk.to(device) for chunk in self.chunks]
        pairs = self.pairs.to(device, non_blocking=True)
        work = replace(self, chunks=chunks, layout=self.layout.to(device), pairs=pairs)
        if self.translations is not None:
            work = replace(work, translations=self.translations.to(device))
        return work if self.teacher is None else replace(work, teacher=self.teacher.to(device))


class StoreTokens:
    """Token ids of a store's texts: the stored ones if they fit the model, else tokenized anew."""

    def __init__(self, store: Store, tokens: TextTokens) -> None:
        self.index, self._store, self._tokens = store.index, store, tokens
        self.mismatch = "it stores none" if store.tokens is None else tokens.mismatch(store.tokens)
        """Why texts are tokenized during training; empty if stored ids are used."""

    def queries(self, rows: np.ndarray) -> Sequence[Sequence[int]]:
        if self._store.tokens is not None and not self.mismatch:
            return self._store.tokens.queries(rows, self._tokens.settings.max_query_tokens)
        return self._tokens.query_ids(self._store.queries(rows))

    def passages(self, numbers: np.ndarray) -> Sequence[Sequence[int]]:
        """Token ids of passages, given by their numbers in the store."""
        if self._store.tokens is not None and not self.mismatch:
            return self._store.tokens.passages(numbers, self._tokens.settings.max_passage_tokens)
        return self._tokens.passage_ids(self._store.passage_texts(numbers))


class Feed:
    """Turns steps of the plan into this rank's inputs."""

    def __init__(
        self,
        plan: Plan,
        stores: Sequence[Store],
        tokens: TextTokens,
        ranks: Ranks,
        chunk_size: int,
        mask: bool,
        query_negatives: bool = False,
        teacher: Teacher | None = None,
        chunk_tokens: int = 0,
        least_chunks: int = 1,
    ) -> None:
        self._plan = plan
        self._tokens = [
            StoreTokens(store, tokens.with_prefixes(source.query_prefix, source.passage_prefix))
            for store, source in zip(stores, plan.sources, strict=True)
        ]
        self._ranks, self._mask, self._query_negatives = ranks, mask, query_negatives
        self._chunks = chunk_size, chunk_tokens, least_chunks
        self._pairs, self._teacher = LanguagePairs(plan.sources), teacher

    def steps(self, first: int, last: int) -> Iterator[StepInputs]:
        """The inputs of steps first .. last - 1, in order."""
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
            pending: list[Future[StepInputs]] = []
            try:
                for step in range(first, last):
                    pending.append(pool.submit(self._prepare, step))
                    if len(pending) > AHEAD:
                        yield self._on_device(pending.pop(0).result())
                while pending:
                    yield self._on_device(pending.pop(0).result())
            finally:
                pool.shutdown(cancel_futures=True)

    def inputs(self, step: int) -> StepInputs:
        """The inputs of one step, prepared now."""
        return self._on_device(self._prepare(step))

    def _prepare(self, step: int) -> StepInputs:
        batch = self._plan.batch(step)
        rank, world = self._ranks.rank, self._ranks.world
        shard = shard_batch(batch.lengths, rank, world, *self._chunks)
        texts = [self._texts(batch, shard.rows[cut]) for cut in shard.chunks]
        source, teacher = batch.stream.source, self._teacher
        work = StepInputs(
            batch,
            shard,
            [
                self._chunk(batch, shard.rows[cut], chunk)
                for cut, chunk in zip(shard.chunks, texts, strict=True)
            ],
            self._layout(batch, shard).with_columns(self._query_negatives),
            torch.from_numpy(self._pairs.of(batch, shard.rows)),
            _translations(batch, shard),
            None if teacher is None else teacher.inputs(source, texts),
        )
        return work if self._ranks.device.type == "cpu" else work.pinned()

    def _texts(self, batch: GlobalBatch, rows: np.ndarray) -> ChunkTexts:
        index = self._tokens[batch.stream.source].index
        candidates = index.passage_of[batch.passage_row[rows]]
        if batch.negatives is not None:
            drawn = batch.negatives.passages[batch.negatives.of(rows)]
            candidates = np.concatenate([candidates, drawn])
        return ChunkTexts(batch.query_row[rows], candidates)

    def _chunk(self, batch: GlobalBatch, rows: np.ndarray, texts: ChunkTexts) -> Chunk:
        tokens = self._tokens[batch.stream.source]
        translations = _translation_ids(batch, rows, tokens)
        return Chunk(
            PackedTexts.of(tokens.queries(texts.query_rows)),
            PackedTexts.of([*tokens.passages(texts.candidates), *translations]),
            len(translations),
        )

    def _layout(self, batch: GlobalBatch, shard: RankShard) -> BatchLayout:
        ids = torch.from_numpy(batch.clusters[shard.order]) if self._mask else None
        if batch.negatives is None:
            return BatchLayout(self._ranks.rank, shard.counts, ids)
        ends = np.cumsum(shard.counts)[:-1]
        drawn = np.split(batch.negatives.counts[shard.order], ends)
        negative_ids = None
        if self._mask:
            of = batch.negatives.clusters[batch.negatives.of(shard.order)]
            passages = torch.from_numpy(of.astype(np.int64))
            # A hard negative has no query.
            negative_ids = torch.stack([passages, torch.full_like(passages, NO_ID)], dim=1)
        return BatchLayout(
            self._ranks.rank,
            shard.counts,
            ids,
            negative_counts=tuple(int(counts.sum()) for counts in drawn),
            negative_ids=negative_ids,
        )

    def _on_device(self, work: StepInputs) -> StepInputs:
        device = self._ranks.device
        return work if device.type == "cpu" else work.to(device)


def _translation_ids(
    batch: GlobalBatch, rows: np.ndarray, tokens: StoreTokens
) -> list[Sequence[int]]:
    """Token ids of the translations of some rows' queries, then of their passages."""
    if batch.parallel is None:
        return []
    parallel, rows = batch.parallel, rows[batch.parallel.aligned[rows]]
    ids: list[Sequence[int]] = []
    if len(rows) and parallel.query_row is not None:
        ids += tokens.queries(parallel.query_row[rows])
    if len(rows) and parallel.passage_row is not None:
        ids += tokens.passages(tokens.index.passage_of[parallel.passage_row[rows]])
    return ids


def _translations(batch: GlobalBatch, shard: RankShard) -> Translations | None:
    """Which of this rank's texts the translations belong to, in the order of `_translation_ids`."""
    parallel = batch.parallel
    if parallel is None or not parallel.num_texts:
        return None
    originals = []
    for cut in shard.chunks:
        aligned = np.flatnonzero(parallel.aligned[shard.rows[cut]]) + cut.start
        if parallel.query_row is not None:
            originals.append(aligned)
        if parallel.passage_row is not None:
            originals.append(aligned + len(shard.rows))
    return Translations(torch.from_numpy(np.concatenate(originals)), parallel.num_texts)
