"""Streams: sets of uids from which batches are drawn without replacement, pass after pass.

Monolingual batches come from one language of a source; cross-lingual and multilingual ones from
its uids in two languages or more, or, with `cross_lingual: pairwise`, from one ordered language
pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import Index, TrainingSource

MONOLINGUAL, CROSS_LINGUAL, MULTILINGUAL = "monolingual", "cross_lingual", "multilingual"
KINDS = (MONOLINGUAL, CROSS_LINGUAL, MULTILINGUAL)


@dataclass(frozen=True)
class Stream:
    """Uids of one source from which batches of one kind are drawn."""

    kind: str
    source: int
    languages: tuple[int, ...]
    """One language; those of the query and of the passage; or none: any two languages or more."""
    num_uids: int
    """The number of uids."""
    name: str
    weight: float
    """Probability, up to a factor, among the streams of the same source and kind."""

    def too_small_message(self, size: int) -> str:
        """A message: why no batch of this size can be drawn, and which size could."""
        return (
            f"{self.name}: {self.num_uids} pairs give no {self.kind} batch of {size} "
            f"(batching.size {self.num_uids} or less would admit it)"
        )


def mix_weights(mix: Mix) -> tuple[float, float, float]:
    """The weights of KINDS, in their order."""
    return mix.monolingual, mix.cross_lingual, mix.multilingual


def all_streams(sources: Sequence[TrainingSource], kind: str, batching: Batching) -> list[Stream]:
    """All streams of a kind, including those smaller than a batch."""
    return [
        stream
        for number, source in enumerate(sources)
        for stream in _of_source(number, source, kind, batching, several=len(sources) > 1)
    ]


def sampling_probabilities(streams: Sequence[Stream], num_sources: int) -> np.ndarray:
    """Probability of each stream: that of its source, by number of uids, times its own weight."""
    size, weight = np.zeros(num_sources), np.zeros(num_sources)
    for stream in streams:
        size[stream.source] += stream.num_uids
        weight[stream.source] += stream.weight
    return np.array([size[s.source] / size.sum() * s.weight / weight[s.source] for s in streams])


def pair_uids(index: Index, first: int, second: int) -> np.ndarray:
    """Uids that are in both languages, ascending."""
    starts = index.language_starts
    uids = [index.row_uid[starts[i] : starts[i + 1]] for i in (first, second)]
    return np.intersect1d(uids[0], uids[1], assume_unique=True)


def pair_sizes(index: Index) -> np.ndarray:
    """Number of uids that are in both languages, for each pair [languages, languages]."""
    count = len(index.languages)
    sizes = np.zeros((count, count))
    block = 1 << 18
    for low in range(0, index.num_uids, block):
        high = min(low + block, index.num_uids)
        rows = index.uid_rows[index.uid_starts[low] : index.uid_starts[high]]
        is_in = np.zeros((high - low, count), np.float32)
        is_in[index.row_uid[rows] - low, index.language_of(rows)] = 1
        sizes += is_in.T @ is_in
    return sizes.astype(np.int64)


def _of_source(
    number: int, source: TrainingSource, kind: str, batching: Batching, several: bool
) -> list[Stream]:
    index, prefix = source.index, f"{source.name}: " if several else ""
    streams: list[tuple[tuple[int, ...], int, str, float]]
    if kind == MONOLINGUAL:
        streams = [
            ((i,), int(size), language, _weight([language], size, batching))
            for i, (language, size) in enumerate(
                zip(index.languages, index.language_sizes(), strict=True)
            )
        ]
    elif kind == CROSS_LINGUAL and batching.cross_lingual == "pairwise":
        sizes = pair_sizes(index)
        streams = [
            ((a, b), int(sizes[a, b]), f"{x} -> {y}", _weight([x, y], sizes[a, b], batching))
            for a, x in enumerate(index.languages)
            for b, y in enumerate(index.languages)
            if a != b and sizes[a, b]
        ]
    else:
        count = len(index.parallel_uids)
        streams = [((), count, "parallel uids", 1.0)] if count else []
    return [
        Stream(kind, number, languages, uids, prefix + name, weight)
        for languages, uids, name, weight in streams
        if weight
    ]


def _weight(languages: Sequence[str], size: float, batching: Batching) -> float:
    """The product of the configured weights if there are any, else size ** language_alpha."""
    weights: Mapping[str, float] = batching.language_weights
    if weights:
        return float(np.prod([weights.get(language, 1.0) for language in languages]))
    return float(size) ** batching.language_alpha
