"""What is known to be relevant to a query, and so never a negative of it."""

import numpy as np

from hybrid_dist.data.store.index import Index


class KnownRelevance:
    """The passages that share a text or uid with the positives of a query, in any language.

    Passages that share a text in any language, or translate such a passage, are one cluster. A
    query's positives are those of all uids with the same query text.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._clusters = index.num_uids + len(index.passage_cluster)
        pairs = np.unique(self._pair(index.uid_query_cluster, index.uid_passage_cluster))
        self._pairs = pairs
        """Query cluster and passage cluster of every uid, as one number each; sorted."""

    def _pair(self, query: np.ndarray, passage: np.ndarray) -> np.ndarray:
        pairs: np.ndarray = query.astype(np.int64) * self._clusters + passage
        return pairs

    def _query_clusters(self, rows: np.ndarray) -> np.ndarray:
        clusters: np.ndarray = self._index.uid_query_cluster[self._index.row_uid[rows]]
        return clusters

    def of(self, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Whether each passage [B, K] is known to be relevant to the query of its row [B]."""
        passage = self._index.passage_cluster[np.maximum(numbers, 0)]
        pairs = self._pair(self._query_clusters(rows)[:, None], passage)
        at = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        return (self._pairs[at] == pairs) & (numbers >= 0)

    def in_pool(self, pool: np.ndarray) -> np.ndarray:
        """[query clusters]: how many passages of the pool [numbers] are relevant to its queries."""
        passages = np.bincount(self._index.passage_cluster[pool], minlength=self._clusters)
        query, passage = np.divmod(self._pairs, self._clusters)
        return np.bincount(query, passages[passage], minlength=self._index.num_uids).astype(int)

    def counts(self, rows: np.ndarray, in_pool: np.ndarray) -> np.ndarray:
        """[B]: how many are relevant to the query of each of these rows [B]."""
        counts: np.ndarray = in_pool[self._query_clusters(rows)]
        return counts
