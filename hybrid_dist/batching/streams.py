"""Streams: what batches are drawn from, walked without replacement, then in a new order.

A source's language gives monolingual batches; its uids of two languages or more give cross-lingual
and multilingual ones; where pairs are asked for one by one, its ordered pairs of languages do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.config.schema import Batching, Mix
from hybrid_dist.data.store.reader import Index, Source

MONOLINGUAL, CROSS_LINGUAL, MULTILINGUAL = "monolingual", "cross_lingual", "multilingual"
KINDS = (MONOLINGUAL, CROSS_LINGUAL, MULTILINGUAL)


@dataclass(frozen=True)
class Stream:
    """Uids of one source, for batches of one kind."""

    kind: str
    source: int
    languages: tuple[int, ...]
    """Empty: uids of any two languages or more. One. Or a query's and its passage's."""
    uids: int
    name: str
    weight: float
    """The chance to be drawn, in proportion to the other streams of the source and kind."""

    def left_out(self, size: int) -> str:
        """Why it gives no batch of this size, and which size would do."""
        return (
            f"{self.name}: {self.uids} pairs give no {self.kind} batch of {size} "
            f"(batching.size {self.uids} or less would admit it)"
        )


def mix_weights(mix: Mix) -> tuple[float, float, float]:
    """Weights of KINDS."""
    return mix.monolingual, mix.cross_lingual, mix.multilingual


def all_streams(sources: Sequence[Source], kind: str, batching: Batching) -> list[Stream]:
    """Every stream of a kind, those smaller than a batch included."""
    return [
        stream
        for number, source in enumerate(sources)
        for stream in _of_source(number, source, kind, batching, several=len(sources) > 1)
    ]


def sampling_probabilities(streams: Sequence[Stream], sources: int) -> np.ndarray:
    """The chance of each stream: its source by the size of its streams, then by weight."""
    size, weight = np.zeros(sources), np.zeros(sources)
    for stream in streams:
        size[stream.source] += stream.uids
        weight[stream.source] += stream.weight
    return np.array([size[s.source] / size.sum() * s.weight / weight[s.source] for s in streams])


def pair_uids(index: Index, first: int, second: int) -> np.ndarray:
    """Uids that stand in both languages."""
    starts = index.language_starts
    uids = [index.row_uid[starts[i] : starts[i + 1]] for i in (first, second)]
    return np.intersect1d(uids[0], uids[1], assume_unique=True)


def pair_sizes(index: Index) -> np.ndarray:
    """How many uids stand in both languages, for every two [languages, languages]."""
    count = len(index.languages)
    sizes = np.zeros((count, count))
    step = 1 << 18
    for low in range(0, index.uids, step):
        high = min(low + step, index.uids)
        rows = index.uid_rows[index.uid_starts[low] : index.uid_starts[high]]
        stands = np.zeros((high - low, count), np.float32)
        stands[index.row_uid[rows] - low, index.language_of(rows)] = 1
        sizes += stands.T @ stands
    return sizes.astype(np.int64)


def _of_source(
    number: int, source: Source, kind: str, batching: Batching, several: bool
) -> list[Stream]:
    index, prefix = source.index, f"{source.name}: " if several else ""
    found: list[tuple[tuple[int, ...], int, str, float]]
    if kind == MONOLINGUAL:
        found = [
            ((i,), int(size), language, _weight([language], size, batching))
            for i, (language, size) in enumerate(
                zip(index.languages, index.language_sizes(), strict=True)
            )
        ]
    elif kind == CROSS_LINGUAL and batching.cross_lingual == "pairwise":
        sizes = pair_sizes(index)
        found = [
            ((a, b), int(sizes[a, b]), f"{x} -> {y}", _weight([x, y], sizes[a, b], batching))
            for a, x in enumerate(index.languages)
            for b, y in enumerate(index.languages)
            if a != b and sizes[a, b]
        ]
    else:
        count = len(index.parallel_uids)
        found = [((), count, "parallel uids", 1.0)] if count else []
    return [
        Stream(kind, number, languages, uids, prefix + name, weight)
        for languages, uids, name, weight in found
        if weight
    ]


def _weight(languages: Sequence[str], size: float, batching: Batching) -> float:
    """Explicit weights where any are given, else the size to the power of the temperature."""
    told: Mapping[str, float] = batching.language_weights
    if told:
        return float(np.prod([told.get(language, 1.0) for language in languages]))
    return float(size) ** batching.language_alpha
