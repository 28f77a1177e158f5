"""The plan: the global batch of a step, as a pure function of (config, index, seed, step).

Every rank computes it by itself and takes its shard. Nothing is communicated, only the step is
stored, and batches are the same on any number of ranks and after any interruption.

Shapes: B is the size of the global batch.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hybrid_dist.batching.negatives import Negatives, draw_negatives
from hybrid_dist.batching.parallel import Parallel, draw_parallel
from hybrid_dist.batching.quotas import QuotaSchedule
from hybrid_dist.batching.randomness import key, keyed_hash, permuted
from hybrid_dist.batching.schedule import Schedule
from hybrid_dist.batching.shares import gives, have_settings, leaves
from hybrid_dist.batching.streams import (
    CROSS_LINGUAL,
    KINDS,
    MONOLINGUAL,
    Stream,
    all_streams,
    mix_weights,
    pair_uids,
    sampling_probabilities,
)
from hybrid_dist.config.schema import Align, Batching
from hybrid_dist.data.store.index import Index, TrainingSource
from hybrid_dist.errors import UserError, nearest


@dataclass(frozen=True)
class GlobalBatch:
    """What one step trains on, over all ranks. Row i is a query and its passage."""

    step: int
    stream: Stream
    uid: np.ndarray
    """Uids [B], all different."""
    query_row: np.ndarray
    """Rows of the store whose queries are taken [B]."""
    passage_row: np.ndarray
    """Rows of the store whose passages are taken [B]."""
    clusters: np.ndarray
    """Passage cluster and query cluster of each row [B, 2]. Rows that agree in either may answer
    each other's query, so they are not negatives of each other."""
    lengths: np.ndarray
    """Length of each row's query, passage, hard negatives and translations together, after
    truncation, in tokens or characters as in the store [B]."""
    negatives: Negatives | None
    """None if the run uses no hard negatives."""
    parallel: Parallel | None = None
    """None if the run aligns no translations."""

    def __len__(self) -> int:
        return len(self.uid)

    @property
    def kind(self) -> str:
        return self.stream.kind

    def false_negatives(self) -> int:
        """Number of ordered pairs of different rows that share a passage or a query cluster."""
        passages, queries = (_count_equal_pairs(self.clusters[:, i]) for i in (0, 1))
        return passages + queries - _count_equal_pairs(self.clusters)


def _count_equal_pairs(values: np.ndarray) -> int:
    """Ordered pairs of different positions with equal values."""
    _, counts = np.unique(values, axis=0, return_counts=True)
    return int((counts * (counts - 1)).sum())


def max_batch_size(sources: Sequence[TrainingSource], batching: Batching) -> int:
    """The largest batch size that every stream of the mix can fill."""
    mix = zip(KINDS, mix_weights(batching.mix), strict=True)
    streams = [s for kind, weight in mix if weight for s in all_streams(sources, kind, batching)]
    return min((stream.num_uids for stream in streams), default=0)


class Plan:
    """`plan.batch(step)` draws from the streams that the sources and the mix allow.

    `small_streams` lists the streams that are too small for a batch.
    """

    def __init__(
        self,
        sources: Sequence[TrainingSource],
        batching: Batching,
        seed: int,
        data: str = "data.train",
        steps: int | None = None,
        align: Align | None = None,
    ) -> None:
        """`data`: what messages call the sources. `steps`: when batching.mix_end is reached.
        `align`: None or weight 0 draw no translations."""
        self.sources, self.size, self._seed = sources, batching.size, seed
        self._hard_negatives = batching.hard_negatives
        self._align = align if align is not None and align.weight else None
        _check_negatives(sources, batching, data)
        if self._align is not None:
            _check_translations(sources, data)
        _check_languages(sources, batching, data)
        self.streams: dict[str, list[Stream]] = {}
        self.small_streams: list[Stream] = []
        for kind in KINDS:
            givers = [at for at, source in enumerate(sources) if gives(source, kind, batching)]
            streams = all_streams(sources, kind, batching) if givers else []
            streams = [stream for stream in streams if stream.source in givers]
            self.streams[kind] = [stream for stream in streams if stream.num_uids >= self.size]
            self.small_streams += [stream for stream in streams if stream.num_uids < self.size]
            in_mix = mix_weights(batching.mix)[KINDS.index(kind)] > 0
            self._check_kind(kind, givers, data, "batching.mix" if in_mix else "batching.mix_end")
        self._schedule = self._scheduled(batching, data, steps)
        self._pair_uids = lru_cache(maxsize=64)(pair_uids)

    def _check_kind(self, kind: str, givers: Sequence[int], data: str, common_mix: str) -> None:
        """Reject a kind of `common_mix` that no source gives, or of its own that one does not."""
        common = [at for at in givers if self.sources[at].mix is None]
        groups = [(common, common_mix, data)] if common else []
        groups += [
            ([at], f"{data}.{at}.mix", self.sources[at].name) for at in givers if at not in common
        ]
        for members, mix, name in groups:
            if not any(stream.source in members for stream in self.streams[kind]):
                small = [s for s in self.small_streams if s.kind == kind and s.source in members]
                sources = [self.sources[at] for at in members]
                raise UserError(_nothing_to_draw(kind, small, sources, self.size, name, mix))

    def _scheduled(
        self, batching: Batching, data: str, steps: int | None
    ) -> Schedule | QuotaSchedule:
        if not have_settings(self.sources, batching):
            probabilities = [
                sampling_probabilities(self.streams[kind], len(self.sources)) for kind in KINDS
            ]
            return Schedule(mix_weights(batching.mix), probabilities, self._seed)
        if steps is None and batching.mix_end.weights is not None:
            raise UserError(
                "batching.mix_end: needs the number of steps of a run, which is not known here; "
                "leave it out"
            )
        return QuotaSchedule(leaves(self.streams, self.sources, batching, data), steps or 1)

    def wanted_shares(self, steps: int) -> dict[Stream, float]:
        """The share of the first steps that each stream is to get."""
        shares = self._schedule.wanted(steps)
        return {self.streams[KINDS[kind]][choice]: n for (kind, choice), n in shares.items()}

    def stream_at(self, step: int) -> tuple[Stream, int]:
        """The stream of a step (from 0), and how many batches earlier steps drew from it."""
        kind, choice, number = self._schedule(step)
        return self.streams[KINDS[kind]][choice], number

    def batch_counts(self, steps: int) -> Counter[Stream]:
        """The number of batches that the first steps draw from each stream."""
        counts = self._schedule.batch_counts(steps)
        return Counter({self.streams[KINDS[k]][choice]: n for (k, choice), n in counts.items()})

    def batch(self, step: int) -> GlobalBatch:
        """The global batch of a step (from 0)."""
        stream, number = self.stream_at(step)
        index = self.sources[stream.source].index
        pass_number, batch_in_pass = divmod(number, stream.num_uids // self.size)
        names = (index.languages[i] for i in stream.languages)
        pass_key = key(self._seed, stream.kind, stream.source, *names, pass_number)
        positions = np.arange(self.size) + batch_in_pass * self.size
        chosen = permuted(pass_key, stream.num_uids, positions)
        if stream.kind == MONOLINGUAL:
            query_row = passage_row = index.language_starts[stream.languages[0]] + chosen
            uids = index.row_uid[query_row]
        else:
            uids = self._uids(stream, index)[chosen]
            query_row, passage_row = self._across(stream, uids, pass_key)
        negatives = None
        if self._hard_negatives:
            negatives_key = key(pass_key, "negatives")
            negatives = draw_negatives(index, passage_row, self._hard_negatives, negatives_key)
        parallel = None
        if self._align is not None:
            align_key = key(pass_key, "align")
            parallel = draw_parallel(index, uids, query_row, passage_row, self._align, align_key)
        return GlobalBatch(
            step=step,
            stream=stream,
            uid=uids,
            query_row=query_row,
            passage_row=passage_row,
            clusters=np.stack(
                [index.uid_passage_cluster[uids], index.uid_query_cluster[uids]], axis=1
            ),
            lengths=_lengths(
                self.sources[stream.source], query_row, passage_row, negatives, parallel
            ),
            negatives=negatives,
            parallel=parallel,
        )

    def _across(
        self, stream: Stream, uids: np.ndarray, pass_key: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Query rows and passage rows [B] in the stream's two languages, or in drawn languages."""
        index = self.sources[stream.source].index
        if stream.languages:
            query_rows, passage_rows = (
                index.row_of(uids, language) for language in stream.languages
            )
            return query_rows, passage_rows
        starts, ends = index.uid_starts[uids], index.uid_starts[uids + 1]
        languages = (ends - starts).astype(np.uint64)
        bits = keyed_hash(key(pass_key, "languages"), uids)
        query = bits % languages
        if stream.kind == CROSS_LINGUAL:
            passage = bits // languages % (languages - np.uint64(1))
            passage += passage >= query  # any language but the query's
        else:
            passage = bits // languages % languages
        rows = index.uid_rows
        return rows[starts + query.astype(np.int64)], rows[starts + passage.astype(np.int64)]

    def _uids(self, stream: Stream, index: Index) -> np.ndarray:
        """All uids of a stream, in ascending order."""
        if stream.languages:
            return self._pair_uids(index, *stream.languages)
        return index.parallel_uids


def _lengths(
    source: TrainingSource,
    query_row: np.ndarray,
    passage_row: np.ndarray,
    negatives: Negatives | None,
    parallel: Parallel | None,
) -> np.ndarray:
    """The truncated length of each row [B]: query, passage, hard negatives and translations."""
    index, (max_query, max_passage) = source.index, source.max_lengths

    def truncated(lengths: np.ndarray, limit: int) -> np.ndarray:
        return np.minimum(lengths.astype(np.int64), limit)

    def of_queries(rows: np.ndarray) -> np.ndarray:
        return truncated(index.query_length[rows], max_query)

    def of_passages(rows: np.ndarray) -> np.ndarray:
        return truncated(index.passage_length[index.passage_of[rows]], max_passage)

    lengths = of_queries(query_row) + of_passages(passage_row)
    if negatives is not None:
        negatives.add_to(lengths, truncated(index.passage_length[negatives.passages], max_passage))
    if parallel is not None and parallel.query_row is not None:
        lengths += parallel.aligned * of_queries(parallel.query_row)
    if parallel is not None and parallel.passage_row is not None:
        lengths += parallel.aligned * of_passages(parallel.passage_row)
    return lengths


def _check_negatives(sources: Sequence[TrainingSource], batching: Batching, data: str) -> None:
    drawn = (source for source in sources if source.is_drawn)
    if batching.hard_negatives and not any(len(source.index.negatives) for source in drawn):
        raise UserError(
            f"batching.hard_negatives: is {batching.hard_negatives}, but no pair of {data} has "
            "`negatives`; set it to 0, or give pairs that have them"
        )


def _check_translations(sources: Sequence[TrainingSource], data: str) -> None:
    if not any(len(source.index.parallel_uids) for source in sources if source.is_drawn):
        raise UserError(
            f"align.weight: no uid of {data} is in two languages of one source, so there are no "
            "translations to align; set it to 0, or give pairs that share uids across languages "
            "(files that share them are named by one glob)"
        )


def _check_languages(sources: Sequence[TrainingSource], batching: Batching, data: str) -> None:
    known = {language for source in sources for language in source.index.languages}
    for language in batching.language_weights:
        if language not in known:
            raise UserError(
                f"batching.language_weights: no pair is in {language!r}{nearest(language, known)} "
                f"({data} has {', '.join(sorted(known))})"
            )


def _nothing_to_draw(
    kind: str,
    streams: Sequence[Stream],
    sources: Sequence[TrainingSource],
    size: int,
    data: str,
    mix: str,
) -> str:
    """Why no batch of a kind can be drawn, and how to fix it. `mix`: the key that asks for it."""
    languages = sorted({language for source in sources for language in source.index.languages})
    if streams:
        best = max(streams, key=lambda stream: stream.num_uids)
        return (
            f"batching.size: {size} is more than any {kind} stream has ({best.name}: "
            f"{best.num_uids}); choose {best.num_uids} or less, or set {mix}.{kind} to 0"
        )
    if len(languages) == 1:
        reason = f"{data} has one language ({languages[0]})"
    elif kind == MONOLINGUAL:
        reason = "batching.language_weights leaves no language"
    else:
        reason = f"no uid of {data} is in two languages of one source"
    return (
        f"{mix}.{kind}: {reason}; set {mix}.{kind} to 0, or give pairs that share "
        "uids across languages (files that share them are named by one glob)"
    )
