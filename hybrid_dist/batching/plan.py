"""The plan: a pure function of (configuration, index, seed, step) that names a whole global batch.

Every rank computes it alone and takes its share, so nothing is communicated, nothing is stored
but the step, and the batches are the same on any number of ranks and after any interruption.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hybrid_dist.batching.negatives import Negatives, draw_negatives
from hybrid_dist.batching.randomness import key, keyed_hash, permuted
from hybrid_dist.batching.schedule import Schedule
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
from hybrid_dist.config.schema import Batching
from hybrid_dist.data.store.reader import Index, Source
from hybrid_dist.errors import UserError, nearest


@dataclass(frozen=True)
class GlobalBatch:
    """What one step trains on, over all ranks: row i is a query and its passage."""

    step: int
    stream: Stream
    uid: np.ndarray
    query_row: np.ndarray
    passage_row: np.ndarray
    groups: np.ndarray
    """Of each row its passage's and its query's group: rows equal in either may answer each
    other's query, so they are no negatives of each other."""
    lengths: np.ndarray
    """Of each row: how long its query, its passage and its hard negatives are together, each as
    it is cut, in the store's measure."""
    negatives: Negatives | None
    """None where the run takes no hard negatives."""

    def __len__(self) -> int:
        return len(self.uid)

    @property
    def kind(self) -> str:
        return self.stream.kind

    def false_negatives(self) -> int:
        """Ordered pairs of different rows that share a passage's or a query's group."""
        passages, queries = (_pairs_alike(self.groups[:, i]) for i in (0, 1))
        return passages + queries - _pairs_alike(self.groups)


def _pairs_alike(values: np.ndarray) -> int:
    _, counts = np.unique(values, axis=0, return_counts=True)
    return int((counts * (counts - 1)).sum())


def max_batch_size(sources: Sequence[Source], batching: Batching) -> int:
    """The largest batch that every stream of the mix can give."""
    wanted = zip(KINDS, mix_weights(batching.mix), strict=True)
    streams = [s for kind, weight in wanted if weight for s in all_streams(sources, kind, batching)]
    return min((stream.uids for stream in streams), default=0)


class Plan:
    """`plan.batch(step)` for the streams that the sources and the mix allow."""

    def __init__(self, sources: Sequence[Source], batching: Batching, seed: int) -> None:
        self.sources, self.size, self._seed = sources, batching.size, seed
        self._hard_negatives = batching.hard_negatives
        _check_negatives(sources, batching)
        _check_languages(sources, batching)
        self.streams: dict[str, list[Stream]] = {}
        self.left_out: list[Stream] = []
        for kind, weight in zip(KINDS, mix_weights(batching.mix), strict=True):
            found = all_streams(sources, kind, batching) if weight else []
            self.streams[kind] = [stream for stream in found if stream.uids >= self.size]
            self.left_out += [stream for stream in found if stream.uids < self.size]
            if weight and not self.streams[kind]:
                raise UserError(_nothing_to_draw(kind, found, sources, self.size))
        self._schedule = Schedule(
            mix_weights(batching.mix),
            [sampling_probabilities(self.streams[kind], len(sources)) for kind in KINDS],
            seed,
        )
        self._pair_uids = lru_cache(maxsize=64)(pair_uids)

    def stream(self, step: int) -> tuple[Stream, int]:
        """The stream of a step, counted from 0, and the number of its batch in that stream."""
        kind, choice, number = self._schedule(step)
        return self.streams[KINDS[kind]][choice], number

    def given(self, steps: int) -> Counter[Stream]:
        """How many of the first steps each stream gives a batch for."""
        given = self._schedule.given(steps)
        return Counter({self.streams[KINDS[k]][choice]: n for (k, choice), n in given.items()})

    def batch(self, step: int) -> GlobalBatch:
        """The global batch of a step, counted from 0."""
        stream, number = self.stream(step)
        index = self.sources[stream.source].index
        pass_number, place = divmod(number, stream.uids // self.size)
        names = (index.languages[i] for i in stream.languages)
        pass_key = key(self._seed, stream.kind, stream.source, *names, pass_number)
        positions = np.arange(place * self.size, (place + 1) * self.size)
        chosen = permuted(pass_key, stream.uids, positions)
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
        return GlobalBatch(
            step=step,
            stream=stream,
            uid=uids,
            query_row=query_row,
            passage_row=passage_row,
            groups=np.stack(
                [index.uid_passage_cluster[uids], index.uid_query_cluster[uids]], axis=1
            ),
            lengths=_lengths(self.sources[stream.source], query_row, passage_row, negatives),
            negatives=negatives,
        )

    def _across(
        self, stream: Stream, uids: np.ndarray, pass_key: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of queries and passages: in the stream's two languages, or in drawn ones."""
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
        """The stream's uids, in order."""
        if stream.languages:
            return self._pair_uids(index, *stream.languages)
        return index.parallel_uids


def _lengths(
    source: Source, query_row: np.ndarray, passage_row: np.ndarray, negatives: Negatives | None
) -> np.ndarray:
    """`GlobalBatch.lengths`."""
    index, (longest_query, longest_passage) = source.index, source.longest

    def cut(lengths: np.ndarray, longest: int) -> np.ndarray:
        return np.minimum(lengths.astype(np.int64), longest)

    lengths = cut(index.query_length[query_row], longest_query)
    lengths += cut(index.text_length[index.passage_of[passage_row]], longest_passage)
    if negatives is not None:
        negatives.add_to(lengths, cut(index.text_length[negatives.passages], longest_passage))
    return lengths


def _check_negatives(sources: Sequence[Source], batching: Batching) -> None:
    if batching.hard_negatives and not any(len(source.index.negatives) for source in sources):
        raise UserError(
            f"batching.hard_negatives: is {batching.hard_negatives}, but no pair of data.train has "
            "`negatives`; set it to 0, or give pairs that have them"
        )


def _check_languages(sources: Sequence[Source], batching: Batching) -> None:
    known = {language for source in sources for language in source.index.languages}
    for language in batching.language_weights:
        if language not in known:
            raise UserError(
                f"batching.language_weights: no pair is in {language!r}{nearest(language, known)} "
                f"(data.train has {', '.join(sorted(known))})"
            )


def _nothing_to_draw(
    kind: str, found: Sequence[Stream], sources: Sequence[Source], size: int
) -> str:
    """Why no batch of a kind can be drawn, and what would help."""
    languages = sorted({language for source in sources for language in source.index.languages})
    if found:
        best = max(found, key=lambda stream: stream.uids)
        return (
            f"batching.size: {size} is more than any {kind} stream has ({best.name}: {best.uids}); "
            f"choose {best.uids} or less, or set batching.mix.{kind} to 0"
        )
    if len(languages) == 1:
        what = f"data.train has one language ({languages[0]})"
    elif kind == MONOLINGUAL:
        what = "batching.language_weights leaves no language"
    else:
        what = "no uid of data.train stands in two languages of one source"
    return (
        f"batching.mix.{kind}: {what}; set batching.mix.{kind} to 0, or give pairs that share uids "
        "across languages (files that share them are named by one glob)"
    )
