"""What a run is trained on and in which kinds of batches: entries of data.train, and mixes."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Tag

from hybrid_dist.config.section import section
from hybrid_dist.config.values import Share, Text, Weight


@section
class Mix:
    monolingual: Share = 0.0
    """Weight of batches whose queries and passages are all in one language."""
    cross_lingual: Share = 0.0
    """Weight of batches whose queries and passages are in different languages."""
    multilingual: Share = 0.0
    """Weight of batches that draw both languages of every pair freely."""


@section
class MixEnd:
    monolingual: Share | None = None
    """Weight of monolingual batches at the last step. Unset: 0 if another kind has one; if none
    has, batching.mix applies to all steps."""
    cross_lingual: Share | None = None
    """Weight of cross-lingual batches at the last step."""
    multilingual: Share | None = None
    """Weight of multilingual batches at the last step."""

    @property
    def weights(self) -> Mix | None:
        """None if the mix does not change."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        given = {name: value for name, value in values.items() if value is not None}
        return Mix(**given) if given else None


@section
class Source:
    """An entry of data.train with settings of its own."""

    path: Text
    """A prepared store, or pair files."""
    weight: Weight | None = None
    """The source's share of the batches, relative to the weights of the others. An entry without
    one weighs 1 if another entry has one; if none has, sources are drawn by their size."""
    mix: Mix | None = None
    """Weights of the kinds of this source's batches; unset: those of batching.mix and mix_end."""
    query_prefix: Text | None = None
    """Put before every query of this source; unset: model.query_prefix."""
    passage_prefix: Text | None = None
    """Put before every passage of this source; unset: model.passage_prefix."""


PATH_TAG, SOURCE_TAG = "<path>", "<source>"
"""What pydantic calls the two forms of an entry in the places of its errors."""


def _form(entry: Any) -> str:
    return SOURCE_TAG if isinstance(entry, Mapping | Source) else PATH_TAG


def _simplified(entry: str | Source) -> str | Source:
    """The path alone if an entry has no settings: both forms of it are the same run."""
    return path_of(entry) if entry == Source(path=path_of(entry)) else entry


def path_of(entry: str | Source) -> str:
    """The path of an entry of data.train."""
    return entry if isinstance(entry, str) else entry.path


TrainEntry = Annotated[
    Annotated[Text, Tag(PATH_TAG)] | Annotated[Source, Tag(SOURCE_TAG)],
    Discriminator(_form),
    AfterValidator(_simplified),
]
