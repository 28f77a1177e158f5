"""Links between translations with uids of their own: pairs that are linked get one uid."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.hashing import hash_texts
from hybrid_dist.data.reading import Reading, short
from hybrid_dist.data.sources.lines import lines, nfc
from hybrid_dist.data.store.numbering import components
from hybrid_dist.errors import UserError

EXPECTED = "expected two uids with a tab between them"


class Links(NamedTuple):
    """The ids of a file of links."""

    file: Path
    ids: pa.Array
    """All ids in alphabetical order."""
    uids: pa.Array
    """The first id that each is linked with, over any number of links: the uid of both."""
    line: np.ndarray
    """The first line that has each id."""


def read_links(file: Path, reading: Reading) -> Links:
    """The links in a file: lines of two uids with a tab between them."""
    if not file.is_file():
        raise UserError(f"--links {file}: no such file; name one with {EXPECTED[9:]} in each line")
    first_line: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []
    for number, line in lines(reading, file):
        cells = [nfc(cell) for cell in line.split("\t")]
        if len(cells) != 2 or not all(cell.strip() for cell in cells):
            if line.strip():
                reading.refuse(f"{file}:{number}", f"{EXPECTED}, found {short(line)}")
            continue
        pairs.append((cells[0], cells[1]))
        for cell in cells:
            first_line.setdefault(cell, number)
    if not pairs:
        raise UserError(f"{file}: has no link; {EXPECTED} in each line")
    ids = sorted(first_line)
    number_of = {name: number for number, name in enumerate(ids)}
    one, other = (np.array([number_of[pair[side]] for pair in pairs]) for side in (0, 1))
    texts = pa.array(ids, pa.string())
    root = components(one, other, len(ids))
    return Links(file, texts, texts.take(pa.array(root)), np.array([first_line[i] for i in ids]))


def linked(
    pairs: Iterator[pa.RecordBatch], file: Path, reading: Reading
) -> Iterator[pa.RecordBatch]:
    """The pairs with one uid for those that are linked; an id that no pair has is refused."""
    reading.links = file
    links = read_links(file, reading)
    hashes = hash_texts(links.ids)
    order = np.argsort(hashes)
    hashes = hashes[order]
    seen = np.zeros(len(links.ids), bool)
    for block in pairs:
        uids, at = block.column("uid"), block.schema.get_field_index("uid")
        sought = hash_texts(uids)
        number = order[np.minimum(np.searchsorted(hashes, sought), len(hashes) - 1)]
        equal = pc.equal(links.ids.take(pa.array(number)), uids)
        number = number[equal.to_numpy(zero_copy_only=False)]
        seen[number] = True
        renamed = pc.replace_with_mask(uids, equal, links.uids.take(pa.array(number)))
        yield block.set_column(at, block.schema.field(at), renamed)
    for missing in np.flatnonzero(~seen).tolist():
        reading.refuse(
            f"{file}:{links.line[missing]}",
            f"no pair has the uid {short(links.ids[missing].as_py())}; in a table without "
            "uid_column, uids are file:row",
        )
    count = len(links.uids.unique())
    reading.notes.append(f"{file}: {len(links.ids):,} uids were joined to {count:,}")
