"""Hashes of columns: equal for equal texts, different for others, whatever is beside them."""

from random import Random

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.data.hashing import LONG, hash_texts


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab\0é日"), max_size=20), max_size=30), st.randoms())
def test_a_hash_depends_on_its_text_alone(texts: list[str], random: Random) -> None:
    together = hash_texts(pa.array(texts, pa.string()))
    alone = [int(hash_texts(pa.array([text], pa.large_string()))[0]) for text in texts]
    assert together.tolist() == alone
    sliced = hash_texts(pa.array(["before", *texts, "after"], pa.string())[1:-1])
    assert sliced.tolist() == alone
    assert len(set(alone)) == len(set(texts))


def test_texts_that_resemble_each_other_have_different_hashes() -> None:
    texts = [f"{n}" for n in range(100_000)]
    texts += [f"passage number {n:08d} of many" for n in range(100_000)]
    texts += [
        f"ja:tr-{a:03}-{b:02}-{c:03}" for a in range(120) for b in range(40) for c in range(40)
    ]
    texts += ["a" * n for n in range(1, 3000)]
    texts += ["\0" * n for n in range(100)]
    texts += ["x" * n for n in range(LONG - 20, LONG + 20)]
    texts += ["y" * (LONG + 9) + str(n) for n in range(100)]
    result = hash_texts(pa.array(texts))
    assert len(np.unique(result)) == len(texts)
    for shift in (0, 32):  # either half is as good as chance lets it be
        half = np.unique(result >> np.uint64(shift) & np.uint64(0xFFFFFFFF))
        assert len(half) > len(texts) - 60


def test_hashes_are_the_same_on_every_machine_and_in_every_version() -> None:
    """Stores hold them."""
    result = hash_texts(pa.array(["", "a", "eight by", "nine byte", "Ω" * 40, "z" * LONG]))
    assert [f"{value:016x}" for value in result.tolist()] == [
        "7ab40e090f363a7d",
        "25dcffb736d61ab9",
        "d7336390eb554369",
        "2ef97002162627ab",
        "f4b11bc4d4fead79",
        "b08f60376e87b1e4",
    ]
