"""What share of the batches each stream gets, at the first and at the last step.

With weights or mixes of sources, a batch's source is chosen first, then its kind, then its stream.
Otherwise the kind is chosen first, then the source by its size, then the stream.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hybrid_dist.batching.quotas import Leaf
from hybrid_dist.batching.streams import KINDS, Stream, mix_weights, sampling_probabilities
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import TrainingSource
from hybrid_dist.errors import UserError

Streams = Mapping[str, Sequence[Stream]]
"""The streams of each kind that fill a batch."""


def have_settings(sources: Sequence[TrainingSource], batching: Batching) -> bool:
    """Whether shares depend on more than batching.mix."""
    return _of_sources(sources) or batching.mix_end.weights is not None


def mixes(source: TrainingSource, batching: Batching) -> tuple[Mix, Mix]:
    """A source's mix at the first and at the last step."""
    if source.mix is not None:
        return source.mix, source.mix
    return batching.mix, batching.mix_end.weights or batching.mix


def gives(source: TrainingSource, kind: str, batching: Batching) -> bool:
    """Whether batches of a kind are to be drawn from a source."""
    number = KINDS.index(kind)
    wanted = any(mix_weights(mix)[number] for mix in mixes(source, batching))
    return source.weight != 0 and wanted


def leaves(
    streams: Streams, sources: Sequence[TrainingSource], batching: Batching, data: str
) -> list[Leaf]:
    """The streams with their shares."""
    if _of_sources(sources):
        start, end = (_by_source(streams, sources, batching, at, data) for at in (0, 1))
    else:
        start, end = (_by_kind(streams, sources, batching, at) for at in (0, 1))
    return [
        Leaf(number, choice, stream.source, start[kind][choice], end[kind][choice])
        for number, kind in enumerate(KINDS)
        for choice, stream in enumerate(streams[kind])
    ]


def _of_sources(sources: Sequence[TrainingSource]) -> bool:
    return any(source.weight is not None or source.mix is not None for source in sources)


def _by_kind(
    streams: Streams, sources: Sequence[TrainingSource], batching: Batching, at: int
) -> dict[str, np.ndarray]:
    """Shares by kind, at the first step (`at` is 0) or the last (1), from batching alone."""
    weights = np.array(mix_weights(mixes(sources[0], batching)[at]))
    return {
        kind: share * sampling_probabilities(streams[kind], len(sources))
        for kind, share in zip(KINDS, weights / weights.sum(), strict=True)
    }


def _by_source(
    streams: Streams,
    sources: Sequence[TrainingSource],
    batching: Batching,
    at: int,
    data: str,
) -> dict[str, np.ndarray]:
    """The same with settings of sources: weight, then the mix of the kinds that the source has."""
    weights = np.array([s.index.num_rows if s.weight is None else s.weight for s in sources])
    shares = {kind: np.zeros(len(streams[kind])) for kind in KINDS}
    for number, (source, weight) in enumerate(zip(sources, weights / weights.sum(), strict=True)):
        if not weight:
            continue
        own = {kind: np.array([s.source == number for s in streams[kind]], bool) for kind in KINDS}
        mix = mix_weights(mixes(source, batching)[at])
        given = {kind: w for kind, w in zip(KINDS, mix, strict=True) if w and own[kind].any()}
        if not given:
            key = "batching.mix" if at == 0 else "batching.mix_end"
            raise UserError(
                f"{data}: {source.name} fills no batch of {batching.size} of any kind of {key}; "
                "give it a `mix` of its own or the weight 0, or lower batching.size"
            )
        for kind, kind_weight in given.items():
            chances = np.array([stream.weight for stream in streams[kind]]) * own[kind]
            shares[kind] += weight * kind_weight / sum(given.values()) * chances / chances.sum()
    return shares
