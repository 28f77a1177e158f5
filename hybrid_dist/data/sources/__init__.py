"""Sources of pairs and evaluation data, each in the layout that it is published in.

A new one is a file here that ends in a `SOURCE`, and a line in the table below.
"""

from hybrid_dist.data.sources import beir, lareqa, miracl, mmarco, pairs, squad, tatoeba, units
from hybrid_dist.data.sources.source import Source

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        pairs.SOURCE,
        lareqa.SOURCE,
        squad.SOURCE,
        beir.SOURCE,
        miracl.SOURCE,
        mmarco.SOURCE,
        tatoeba.SOURCE,
        units.SOURCE,
    )
}
"""Every source by its name."""
