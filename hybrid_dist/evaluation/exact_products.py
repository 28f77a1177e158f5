"""Inner products in float64, rounded to float32: each depends on its two vectors alone, not on what
else is computed with them.

Shapes: Q queries, C passages of each, V vectors, D dimensions.
"""

import numpy as np


def products(queries: np.ndarray, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of queries [Q, D] and some of the vectors [V, D], given as rows [Q, C]: float32 [Q, C].

    Negative rows stand for none; their products mean nothing.
    """
    result = np.empty(rows.shape, np.float32)
    narrow = np.empty((rows.shape[1], vectors.shape[1]), vectors.dtype)
    wide = np.empty(narrow.shape, np.float64)
    for query, own in enumerate(rows):  # one at a time: in the cache of a core
        np.take(vectors, own, axis=0, out=narrow, mode="clip")
        np.copyto(wide, narrow)
        result[query] = np.vecdot(wide, queries[query].astype(np.float64))
    return result


def paired_products(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Of each query and the passage in its row [Q, D]: float32 [Q]."""
    pairs = np.vecdot(queries.astype(np.float64), passages.astype(np.float64))
    return np.asarray(pairs, np.float32)
