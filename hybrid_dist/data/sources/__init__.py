"""Sources of pairs and evaluation data, each in the layout that it is published in.

A new one is a file here that ends in a `SOURCE`, and a line in the table below.
"""

from hybrid_dist.data.sources import (
    afriqa,
    beir,
    belebele,
    benchmark,
    bitext,
    bucc,
    lareqa,
    miracl,
    mmarco,
    mteb,
    multi_eup,
    nemo,
    neuclir,
    pairs,
    squad,
    table,
    tatoeba,
    tldr,
    units,
)
from hybrid_dist.data.sources.source import Source
from hybrid_dist.errors import UserError, nearest

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        pairs.SOURCE,
        table.SOURCE,
        lareqa.SOURCE,
        squad.SOURCE,
        beir.SOURCE,
        belebele.SOURCE,
        miracl.SOURCE,
        mmarco.SOURCE,
        tatoeba.SOURCE,
        bitext.FLORES,
        bitext.NTREX,
        bucc.SOURCE,
        afriqa.SOURCE,
        neuclir.SOURCE,
        multi_eup.SOURCE,
        units.SOURCE,
        tldr.SOURCE,
        *table.LAYOUT_SOURCES,
        nemo.SOURCE,
        mteb.SOURCE,
        benchmark.SOURCE,
    )
}
"""Every source by its name."""


def source_named(name: str) -> Source:
    """The source of this name; a UserError names the nearest one and all others."""
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise UserError(f"SOURCE: unknown {name!r}{nearest(name, SOURCES)} (known: {known})")
    return SOURCES[name]
