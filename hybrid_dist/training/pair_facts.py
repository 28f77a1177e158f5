"""What a config depends on in a store of pairs: sizes, translations, lengths, unknown tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from hybrid_dist.data.store.reader import CHARACTERS_PER_TOKEN, Store
from hybrid_dist.model.text_checks import Measured, Side, measure, sample_slices
from hybrid_dist.model.tokenization import TextTokens

PERCENTILES = (50, 99)


@dataclass(frozen=True)
class Lengths:
    """Of the queries, or of the passages, of a language."""

    mean: float
    median: int
    most: int
    """The 99th percentile."""

    @classmethod
    def of(cls, lengths: np.ndarray) -> "Lengths":
        median, most = np.percentile(lengths, PERCENTILES, method="inverted_cdf").tolist()
        return cls(float(lengths.mean()), int(median), int(most))


@dataclass(frozen=True)
class LanguageFacts:
    pairs: int
    translated: int
    """Pairs with a translation: their uid is in another language too."""
    query: Lengths
    passage: Lengths
    unknown: float | None
    """The larger share of unknown tokens, of queries or of passages; None without a tokenizer."""


@dataclass(frozen=True)
class PairFacts:
    languages: Mapping[str, LanguageFacts]
    translated_uids: int
    """Uids in two languages or more."""
    in_tokens: bool
    """Whether lengths are in tokens, of a sample with prefixes; otherwise in characters."""

    @classmethod
    def of(cls, store: Store, tokens: TextTokens | None) -> "PairFacts":
        """`store`: one without token ids. `tokens`: None where there is no tokenizer."""
        index = store.index
        is_parallel = np.zeros(index.num_uids, bool)
        is_parallel[index.parallel_uids] = True
        sides = _characters(store) if tokens is None else _measured(store, tokens)
        languages = {}
        bounds = pairwise(index.language_starts.tolist())
        for name, (first, last) in zip(index.languages, bounds, strict=True):
            if first == last:
                continue
            queries, passages = (sides[side][name] for side in ("query", "passage"))
            unknown = None if tokens is None else max(queries.unknown, passages.unknown)
            languages[name] = LanguageFacts(
                pairs=last - first,
                translated=int(is_parallel[index.row_uid[first:last]].sum()),
                query=Lengths.of(queries.lengths),
                passage=Lengths.of(passages.lengths),
                unknown=unknown,
            )
        return cls(languages, len(index.parallel_uids), tokens is not None)

    @property
    def pairs(self) -> int:
        return sum(each.pairs for each in self.languages.values())

    @property
    def translated_share(self) -> float:
        """The share of the pairs that have a translation."""
        return sum(each.translated for each in self.languages.values()) / self.pairs

    @property
    def tokens_per_pair(self) -> float:
        """Of a query and its passage together, on average."""
        length = sum(
            each.pairs * (each.query.mean + each.passage.mean) for each in self.languages.values()
        )
        return length / self.pairs / (1 if self.in_tokens else CHARACTERS_PER_TOKEN)

    def longest(self, side: Side) -> int:
        """The length that 99% of the texts of every language have at most."""
        return max(getattr(each, side).most for each in self.languages.values())


BySide = dict[str, dict[str, Any]]


def _measured(store: Store, tokens: TextTokens) -> BySide:
    """A sample of each language, tokenized."""
    index = store.index
    sample = sample_slices(index.languages, index.language_starts)
    return {
        "query": {n: measure(tokens, "query", store.queries(r)) for n, r in sample.items()},
        "passage": {n: measure(tokens, "passage", store.passages(r)) for n, r in sample.items()},
    }


def _characters(store: Store) -> BySide:
    index = store.index
    slices = zip(index.languages, pairwise(index.language_starts.tolist()), strict=True)
    bounds = {name: slice(*ends) for name, ends in slices}
    lengths = index.passage_length[index.passage_of]
    return {
        "query": {n: Measured(0.0, index.query_length[rows]) for n, rows in bounds.items()},
        "passage": {n: Measured(0.0, lengths[rows]) for n, rows in bounds.items()},
    }
