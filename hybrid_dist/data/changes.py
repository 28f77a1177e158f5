"""What is done to a source's pairs before they are stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hybrid_dist.data.cleaning import NO_CLEANING, Cleaning, cleaned
from hybrid_dist.data.links import linked
from hybrid_dist.data.reading import Reading


@dataclass(frozen=True)
class Changes:
    """Links between pairs, and pairs that are left out."""

    links: Path | None = None
    cleaning: Cleaning = NO_CLEANING

    def made_to(
        self, pairs: Iterator[pa.RecordBatch], reading: Reading, needed: int | None
    ) -> Iterator[pa.RecordBatch]:
        """The changed pairs; `needed`: the bytes of a store of them, if estimated."""
        if self.links is not None:
            pairs = linked(pairs, self.links, reading)
        return cleaned(pairs, self.cleaning, reading, needed) if self.cleaning.is_needed else pairs

    def described(self) -> Mapping[str, Any]:
        """Entries of a manifest."""
        entries: dict[str, Any] = {}
        if self.links is not None:
            entries["links"] = str(self.links)
        if self.cleaning.is_needed:
            entries["cleaning"] = self.cleaning.described()
        return entries


NO_CHANGES = Changes()
