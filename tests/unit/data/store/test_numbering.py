"""Numbers of distinct texts, batch by batch."""

import numpy as np
import pytest

from hybrid_dist.data.store import numbering
from hybrid_dist.data.store.numbering import Numbering


@pytest.mark.parametrize("beginning", [3, numbering.BEGINNING])
def test_hashes_are_numbered_in_order_of_first_occurrence(
    monkeypatch: pytest.MonkeyPatch, beginning: int
) -> None:
    monkeypatch.setattr(numbering, "BEGINNING", beginning)
    random = np.random.default_rng(1)
    pool = random.integers(0, 1 << 64, 400, np.uint64)
    number_of, numbering_of_batches = dict[int, int](), Numbering(7)
    for size in random.integers(0, 60, 4 * numbering.RUNS).tolist():
        batch = random.choice(pool, size, replace=False)
        numbers, new = numbering_of_batches(batch)
        assert new.tolist() == [one not in number_of for one in batch.tolist()]
        for one in batch.tolist():
            number_of.setdefault(one, 7 + len(number_of))
        assert numbers.tolist() == [number_of[one] for one in batch.tolist()]
    assert numbering_of_batches.next == 7 + len(number_of) > 300
