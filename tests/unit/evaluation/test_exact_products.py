"""Inner products in float64: right, and independent of what is computed with them."""

import numpy as np
import pytest

from hybrid_dist.evaluation.exact_products import paired_products, products


@pytest.mark.parametrize("dimension", [1, 7, 384, 768])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_products_are_sums_in_float64(dimension: int, dtype: type[np.generic]) -> None:
    draw = np.random.default_rng(dimension)
    queries = draw.normal(size=(5, dimension)).astype(np.float32)
    vectors = draw.normal(size=(40, dimension)).astype(dtype)
    rows = draw.integers(0, 40, size=(5, 9))
    found = products(queries, vectors, rows)
    wide, passages = queries.astype(np.longdouble), vectors.astype(np.longdouble)
    wanted = np.einsum("qd,qcd->qc", wide, passages[rows])
    assert found.dtype == np.float32
    magnitudes = np.einsum("qd,qcd->qc", abs(wide), abs(passages[rows]))
    half_a_bit = 2.0**-24 * np.abs(wanted) + 1e-14 * magnitudes
    assert np.all(np.abs(found - wanted) <= half_a_bit)


@pytest.mark.parametrize("dimension", [5, 384, 1021])
def test_a_product_depends_on_its_two_vectors_alone(dimension: int) -> None:
    """Wherever they lie, and whatever their neighbours are: the same bits."""
    draw = np.random.default_rng(1)
    queries = draw.normal(size=(33, dimension)).astype(np.float32)
    vectors = draw.normal(size=(33, dimension)).astype(np.float32)
    everything = products(queries, vectors, np.tile(np.arange(33), (33, 1)))
    for query in range(0, 33, 4):
        for row in range(0, 33, 5):
            memory = np.empty(dimension + 3, np.float32)
            moved = memory[3:][None]  # another alignment
            moved[:] = vectors[row]
            alone = products(queries[query : query + 1], moved, np.zeros((1, 1), np.int64))
            assert alone[0, 0] == everything[query, row]
    np.testing.assert_array_equal(paired_products(queries, vectors), np.diag(everything))


def test_rows_for_none_do_no_harm() -> None:
    found = products(np.ones((1, 4), np.float32), np.eye(4, dtype=np.float32), np.array([[2, -1]]))
    assert found[0, 0] == 1
