"""Links between translations with uids of their own: pairs that are linked get one uid."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.hashing import hash_texts
from hybrid_dist.data.reading import Reading, short
from hybrid_dist.data.sources.lines import lines, nfc
from hybrid_dist.data.store.numbering import components
from hybrid_dist.data.text_sequence import on_disk
from hybrid_dist.errors import UserError

EXPECTED = "expected two uids with a tab between them"


class Links(NamedTuple):
    """The links in a file."""

    file: Path
    ids: pa.Array
    """All ids in alphabetical order."""
    ends: np.ndarray
    """[links, 2]: the two ids of each link."""
    lines: np.ndarray
    """The line of each link."""

    def among(self, seen: np.ndarray) -> "Links":
        """The links between ids that are there."""
        there = seen[self.ends].all(axis=1)
        return self._replace(ends=self.ends[there], lines=self.lines[there])

    def uids(self) -> pa.Array:
        """The first id that each is linked with, over any number of links: the uid of both."""
        one, other = self.ends.T
        return self.ids.take(pa.array(components(one, other, len(self.ids))))

    def refuse_unknown(self, seen: np.ndarray, reading: Reading) -> None:
        """Refuse the lines with an id that no pair has."""
        for link in np.flatnonzero(~seen[self.ends].all(axis=1)).tolist():
            unknown = next(end for end in self.ends[link].tolist() if not seen[end])
            reading.refuse(
                f"{self.file}:{self.lines[link]}",
                f"no pair has the uid {short(self.ids[unknown].as_py())}; in a table without "
                "uid_column, uids are file:row",
            )


def read_links(file: Path, reading: Reading) -> Links:
    """The links in a file: lines of two uids with a tab between them."""
    if not file.is_file():
        raise UserError(f"--links {file}: no such file; name one with {EXPECTED[9:]} in each line")
    pairs: list[tuple[str, str]] = []
    numbers: list[int] = []
    for number, line in lines(reading, file):
        cells = [nfc(cell) for cell in line.split("\t")]
        if not line.strip():
            continue
        if len(cells) != 2 or not all(cell.strip() for cell in cells):
            reading.refuse(f"{file}:{number}", f"{EXPECTED}, found {short(line)}")
        elif cells[0] == cells[1]:
            reading.refuse(f"{file}:{number}", f"links {short(cells[0])} with itself")
        else:
            pairs.append((cells[0], cells[1]))
            numbers.append(number)
    if not pairs:
        raise UserError(f"{file}: has no link; {EXPECTED} in each line")
    ids = sorted({name for pair in pairs for name in pair})
    number_of = {name: number for number, name in enumerate(ids)}
    ends = np.array([[number_of[name] for name in pair] for pair in pairs])
    return Links(file, pa.array(ids, pa.string()), ends, np.array(numbers))


def linked(
    pairs: Iterator[pa.RecordBatch], file: Path, reading: Reading
) -> Iterator[pa.RecordBatch]:
    """The pairs with one uid for those that are linked; an id that no pair has is refused.

    Only all pairs show which links are bad. If some may be skipped, the pairs are kept in a
    temporary file until then, so that a bad link joins nothing.
    """
    reading.links = file
    links = read_links(file, reading)
    find = _finder(links.ids)
    seen = np.zeros(len(links.ids), bool)

    def watched(blocks: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            seen[find(block.column("uid"))[1]] = True
            yield block

    blocks: Iterable[pa.RecordBatch] = watched(pairs)
    if reading.skip_bad:
        blocks = on_disk(blocks)
        links.refuse_unknown(seen, reading)
        links = links.among(seen)
    uids = links.uids()
    for block in blocks:
        equal, number = find(block.column("uid"))
        renamed = pc.replace_with_mask(block.column("uid"), equal, uids.take(pa.array(number)))
        at = block.schema.get_field_index("uid")
        yield block.set_column(at, block.schema.field(at), renamed)
    links.refuse_unknown(seen, reading)
    joined = np.unique(links.ends)
    count = len(uids.take(pa.array(joined)).unique())
    reading.notes.append(f"{file}: {len(joined):,} uids were joined to {count:,}")


def _finder(ids: pa.Array) -> Callable[[pa.Array], tuple[pa.Array, np.ndarray]]:
    """Says which uids are among the ids, and the numbers of these."""
    hashes = hash_texts(ids)
    order = np.argsort(hashes)
    hashes = hashes[order]

    def find(uids: pa.Array) -> tuple[pa.Array, np.ndarray]:
        number = order[np.minimum(np.searchsorted(hashes, hash_texts(uids)), len(hashes) - 1)]
        equal = pc.equal(ids.take(pa.array(number)), uids)
        return equal, number[equal.to_numpy(zero_copy_only=False)]

    return find
