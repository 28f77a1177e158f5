"""Removing languages from vectors: known answers, held-out fitting, and equal bits on any ranks."""

from zlib import crc32

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.debiasing import FEWEST_TEXTS, Debiasing
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import unit_vectors
from tests.support.thread_ranks import together

MEAN, ONE = Debiasing("mean"), Debiasing("directions", 1)
IDS = [f"id-{number}" for number in range(400)]
HALF = np.array([crc32(name.encode()) >> 16 & 1 for name in IDS])


def shifted(dimension: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Two languages on either side of one axis; and their codes."""
    rng = np.random.default_rng(1)
    codes = np.arange(len(IDS)) % 2
    vectors = unit_vectors(rng, len(IDS), dimension).astype(np.float64)
    vectors[:, 0] = np.where(codes, 3.0, -3.0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), codes


def test_each_half_loses_the_mean_of_the_other() -> None:
    vectors, codes = shifted()
    result, alone = MEAN.apply(vectors, codes, IDS, 2, Ranks())
    assert alone == []
    for code in (0, 1):
        for side in (0, 1):
            rows = np.flatnonzero((codes == code) & (side == HALF))
            others = np.flatnonzero((codes == code) & (side != HALF))
            expected = vectors[rows].astype(np.float64) - vectors[others].astype(np.float64).mean(0)
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(result[rows], expected, atol=1e-5)


@pytest.mark.parametrize("method", [MEAN, ONE])
def test_the_axis_that_tells_languages_apart_is_gone(method: Debiasing) -> None:
    vectors, codes = shifted()
    assert (np.sign(vectors[:, 0]) == np.where(codes, 1, -1)).all()
    result, _ = method.apply(vectors, codes, IDS, 2, Ranks())
    means = [result[codes == code].mean(0) for code in (0, 1)]
    assert np.linalg.norm(means[0] - means[1]) < 0.3, "it was 1.9"
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-6)


def test_directions_are_singular_vectors_of_the_other_half() -> None:
    vectors, codes = shifted()
    two = Debiasing("directions", 2)
    result, _ = two.apply(vectors, codes, IDS, 2, Ranks())
    rows = np.flatnonzero((codes == 0) & (HALF == 0))
    others = np.flatnonzero((codes == 0) & (HALF == 1))
    _, _, right = np.linalg.svd(vectors[others].astype(np.float64), full_matrices=False)
    before = vectors[rows].astype(np.float64)
    expected = before - before @ right[:2].T @ right[:2]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(result[rows], expected, atol=1e-4)


def test_norms_of_given_vectors_are_kept() -> None:
    vectors, codes = shifted()
    lengths = np.linspace(0.1, 1, len(vectors), dtype=np.float32)[:, None]
    result, _ = MEAN.apply(vectors * lengths, codes, IDS, 2, Ranks())
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), lengths[:, 0], rtol=1e-5)


def test_a_language_with_few_texts_is_left_alone() -> None:
    vectors, codes = shifted()
    codes[:FEWEST_TEXTS] = 2
    result, alone = MEAN.apply(vectors, codes, IDS, 4, Ranks())
    assert alone == [2], "and 3 has no text at all"
    assert np.array_equal(result[codes == 2], vectors[codes == 2])


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("method", [MEAN, ONE])
def test_any_number_of_ranks_gives_equal_bits(method: Debiasing, world: int) -> None:
    vectors, codes = shifted(dimension=48)
    alone, _ = method.apply(vectors, codes, IDS, 2, Ranks())
    edges = [len(IDS) * rank // world for rank in range(world + 1)]
    parts: list[np.ndarray] = [alone] * world

    def work(rank: int, ranks: Ranks) -> None:
        own = slice(edges[rank], edges[rank + 1])
        parts[rank], _ = method.apply(vectors[own], codes[own], IDS[own], 2, ranks)

    together(world, work)
    assert np.array_equal(np.concatenate(parts), alone)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("mean", MEAN),
        ("directions", ONE),
        ("directions:12", Debiasing("directions", 12)),
    ],
)
def test_values_of_the_option(text: str, expected: Debiasing | None) -> None:
    assert Debiasing.parse(text) == expected


@pytest.mark.parametrize("text", ["means", "directions:0", "directions:", "mean:2"])
def test_other_values_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="give none, mean, directions or directions:K"):
        Debiasing.parse(text)


def test_no_more_directions_than_dimensions() -> None:
    vectors, codes = shifted()
    with pytest.raises(UserError, match="directions:8 leaves nothing of vectors of dimension 8"):
        Debiasing("directions", 8).apply(vectors, codes, IDS, 2, Ranks())
