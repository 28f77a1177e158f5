"""Train-test contamination: evaluated texts that occur in training data, wholly or mostly.

Texts are compared within a language after normalization: NFC, case-folded, white space collapsed. A
text is *contained* in another that has at least `threshold` of its distinct character n-grams. An
inverted index of the rarest n-grams of the evaluated texts yields candidate pairs for each block of
training texts; their overlap is then computed exactly, so nothing above the threshold is missed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hybrid_dist.data.languages import primary_subtag
from hybrid_dist.data.ngrams import DENSE_LANGUAGES, code_points, normalized_text, rolling_hashes
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.stored_pairs import stored_pairs
from hybrid_dist.evaluation.tasks import Task

NGRAM_SIZE, MIN_NGRAMS = 8, 24
"""Characters of an n-gram. Texts with fewer than MIN_NGRAMS are only compared as a whole."""
DENSE = dict.fromkeys(DENSE_LANGUAGES, (4, 12))
"""Both for languages whose scripts carry more information per character."""
INDEXED_SHARE = 0.4
"""Share of a text's n-grams that are indexed, rarest first. Larger for low thresholds, at which a
text could reach the threshold with n-grams that are not indexed."""
FILTER_CELLS = 1 << 24
"""Cells of the Bloom filter in front of the index."""
MAX_CHECKED_AT_START = 200_000
"""The most pairs, and the most evaluated texts, that are compared when a run starts."""


class Evaluated(NamedTuple):
    """A query of a task, or a passage that is relevant to one."""

    task: str
    kind: str
    lang: str
    id: str
    text: str


class Hit(NamedTuple):
    """A training text that contains an evaluated one."""

    share: float
    """The share of the evaluated text's n-grams that it has; 1 for an equal text."""
    evaluated: Evaluated
    uid: str
    """The uid of the training pair."""
    column: str
    """`query` or `passage`."""
    text: str

    @property
    def exact(self) -> bool:
        """Whether the normalized texts are equal."""
        return normalized_text(self.text) == normalized_text(self.evaluated.text)


def ngrams(text: str, size: int) -> np.ndarray:
    """The distinct n-grams of a normalized text, as sorted hashes."""
    return np.unique(rolling_hashes(code_points([text]), size))


@dataclass
class Overlap:
    """Evaluated texts and the training texts that contain them. `add` all pairs, then read it."""

    evaluated: Sequence[Evaluated]
    threshold: float = 0.8
    pairs: dict[str, int] = field(default_factory=dict)
    """Language -> number of training pairs."""
    best: dict[int, Hit] = field(default_factory=dict)
    """Position in `evaluated` -> the hit with the largest share."""
    uids: set[str] = field(default_factory=set)
    """The uids of training pairs with a hit."""

    def __post_init__(self) -> None:
        by_language: dict[str, list[int]] = {}
        for number, text in enumerate(self.evaluated):
            by_language.setdefault(primary_subtag(text.lang), []).append(number)
        self._indexes = {
            lang: _Index(lang, numbers, self.evaluated, self.threshold)
            for lang, numbers in by_language.items()
        }

    def add(self, block: pa.RecordBatch) -> None:
        """Check a block of pairs with columns uid, lang, query and passage."""
        langs, uids = block.column("lang").to_pylist(), block.column("uid").to_pylist()
        rows: dict[str, list[int]] = {}
        for row, lang in enumerate(langs):
            rows.setdefault(lang, []).append(row)
        for lang, lang_rows in rows.items():
            self.pairs[lang] = self.pairs.get(lang, 0) + len(lang_rows)
            index = self._indexes.get(primary_subtag(lang))
            if index is None:
                continue
            for name in ("query", "passage"):
                texts = block.column(name).take(pa.array(lang_rows)).to_pylist()
                for place, number, share in index.search([normalized_text(text) for text in texts]):
                    uid = uids[lang_rows[place]]
                    self.uids.add(uid)
                    if number not in self.best or share > self.best[number].share:
                        hit = Hit(share, self.evaluated[number], uid, name, texts[place])
                        self.best[number] = hit


class _Index:
    """The evaluated texts of one language."""

    def __init__(
        self, lang: str, numbers: Sequence[int], texts: Sequence[Evaluated], threshold: float
    ) -> None:
        self.size, min_ngrams = DENSE.get(lang, (NGRAM_SIZE, MIN_NGRAMS))
        self.threshold = threshold
        self.numbers: dict[str, list[int]] = {}
        """Normalized text -> positions of the evaluated texts that it stands for."""
        for number in numbers:
            self.numbers.setdefault(normalized_text(texts[number].text), []).append(number)
        grams = {text: ngrams(text, self.size) for text in self.numbers}
        self.texts = [text for text, hashes in grams.items() if len(hashes) >= min_ngrams]
        self.grams = [grams[text] for text in self.texts]
        self._build()

    def _build(self) -> None:
        """Index the rarest n-grams of each text, and compute how many a container must share."""
        sizes = np.array([len(hashes) for hashes in self.grams], np.int64)
        grams = np.concatenate([np.zeros(0, np.uint64), *self.grams])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        _, distinct, frequency = np.unique(grams, return_inverse=True, return_counts=True)
        order = np.lexsort((frequency[distinct], owner))
        rarity = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        indexed = np.ceil(max(INDEXED_SHARE, 1.2 - self.threshold) * sizes).astype(np.int64)
        kept = order[rarity < indexed[owner[order]]]
        required = np.ceil(self.threshold * sizes - 1e-9).astype(np.int64)
        self.needed = required - (sizes - indexed)
        by_gram = kept[np.argsort(distinct[kept], kind="stable")]
        self.keys, first, counts = np.unique(grams[by_gram], return_index=True, return_counts=True)
        self.first, self.counts, self.owners = first, counts, owner[by_gram]
        self.filter = np.zeros(FILTER_CELLS, bool)
        self.filter[_filter_cell(self.keys)] = True

    def search(self, texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """(position of a training text, number of an evaluated text in it, share) for each hit."""
        for place, text in enumerate(texts):
            for number in self.numbers.get(text, ()):
                yield place, number, 1.0
        if self.texts:
            last, grams = -1, np.zeros(0, np.uint64)
            for place, candidate in self._candidates(texts):
                if place != last:
                    last, grams = place, ngrams(texts[place], self.size)
                share = _share(self.grams[candidate], grams)
                if share >= self.threshold and texts[place] != self.texts[candidate]:
                    for number in self.numbers[self.texts[candidate]]:
                        yield place, number, share

    def _candidates(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Pairs (training text, indexed text) that share enough indexed n-grams.

        Repeated n-grams of a training text count repeatedly, so that some candidates are false.
        """
        grams = rolling_hashes(code_points(texts), self.size)
        start = np.flatnonzero(self.filter[_filter_cell(grams)])
        grams = grams[start]
        key = np.searchsorted(self.keys, grams)
        key[key == len(self.keys)] = 0
        equal = self.keys[key] == grams
        start, key = start[equal], key[equal]
        ends = np.cumsum([len(text) for text in texts])
        text = np.searchsorted(ends, start, side="right")
        within = start + self.size <= ends[np.minimum(text, len(ends) - 1)]
        text, key = text[within], key[within]
        enough = np.bincount(text, minlength=len(texts)) >= self.needed.min()
        text, key = text[enough[text]], key[enough[text]]
        counts = self.counts[key]
        posting = np.repeat(self.first[key] - (np.cumsum(counts) - counts), counts)
        owners = self.owners[posting + np.arange(counts.sum())]
        pairs, shared = np.unique(
            np.repeat(text, counts) * len(self.texts) + owners, return_counts=True
        )
        pairs = pairs[shared >= self.needed[pairs % len(self.texts)]]
        for pair in pairs.tolist():
            yield divmod(pair, len(self.texts))


def _share(grams: np.ndarray, others: np.ndarray) -> float:
    """The share of `grams` that occur in `others`; both are sorted."""
    places = np.searchsorted(others, grams)
    return float(np.mean(others[np.minimum(places, len(others) - 1)] == grams))


def _filter_cell(grams: np.ndarray) -> np.ndarray:
    return grams >> np.uint64(40)


def evaluated(task: Task) -> list[Evaluated]:
    """The queries of a task, and the passages that are relevant to any."""
    relevant = np.unique(task.relevant).tolist()
    queries = zip(task.query_language, task.query_ids, task.query_texts, strict=True)
    return [
        *(Evaluated(task.name, "query", task.languages[c], id_, text) for c, id_, text in queries),
        *(
            Evaluated(
                task.name,
                "passage",
                task.languages[task.passage_language[number]],
                task.passage_ids[number],
                task.passage_texts[number],
            )
            for number in relevant
        ),
    ]


def find_overlap(store: Store, tasks: Sequence[Task], threshold: float) -> Overlap:
    """The overlap of the tasks' texts with all pairs of a store."""
    overlap = Overlap([text for task in tasks for text in evaluated(task)], threshold)
    for block in stored_pairs(store):
        overlap.add(block)
    return overlap


def check_overlap_at_start(
    stores: Sequence[Store], tasks: Sequence[Task], sources: Sequence[str]
) -> str:
    """One line on whether any text of a run's tasks equals a training text."""
    if not tasks:
        return "overlap: not checked, since eval.tasks is empty"
    pairs = sum(store.index.num_rows for store in stores)
    texts = sum(len(task.query_ids) + len(np.unique(task.relevant)) for task in tasks)
    if max(pairs, texts) > MAX_CHECKED_AT_START:
        named = " ".join(f"{task.name}:{task.path}" for task in tasks)
        return (
            f"overlap: not checked, since {pairs:,} pairs or the tasks are too many for a run's "
            f"start; run hybrid-dist overlap {sources[0]} --task {named}"
        )
    sought = {
        (primary_subtag(t.lang), normalized_text(t.text)) for task in tasks for t in evaluated(task)
    }
    seen = set()
    for store in stores:
        for block in stored_pairs(store):
            langs = [primary_subtag(lang) for lang in block.column("lang").to_pylist()]
            for name in ("query", "passage"):
                normalized = map(normalized_text, block.column(name).to_pylist())
                seen |= sought.intersection(zip(langs, normalized, strict=True))
    names = ", ".join(task.name for task in tasks)
    return (
        f"overlap: {len(seen):,} of the {len(sought):,} texts that {names} evaluates on are among "
        "the training texts, compared as a whole"
    )
