"""How much is measured: for figures, and for a test that everything runs."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    turns: int = 3
    batch: int = 32
    steps: int = 3
    """The first of them warms up."""
    tokens: int = 128
    """Of the longest query and of the longest passage."""
    encoded: int = 150
    """Queries, and as many passages."""
    large_turns: int = 2
    large_batch: int = 48
    large_steps: int = 2
    chunk: int = 16
    limit_gib: float = 4.0
    largest: int = 256
    """No larger batch is tried."""
    nearest: int = 8
    """How close the largest batch is found."""
    seconds: float = 45.0
    """Of training before quality is compared."""
    longest: int = 400
    """Steps for which there are pairs."""
    queries: int = 100
    """Parallel queries of each language that quality is measured on."""

    def content(self) -> dict[str, Any]:
        return asdict(self)


FULL = Sizes()
QUICK = Sizes(
    turns=1,
    large_turns=1,
    batch=4,
    steps=2,
    tokens=32,
    encoded=8,
    large_batch=8,
    large_steps=2,
    chunk=4,
    largest=4,
    nearest=4,
    seconds=1.0,
    longest=50,
    queries=10,
)
