"""Whether what is evaluated on was seen in training: the very text, or most of it.

Texts are compared within a language: NFC, without case, blanks squeezed. A text is *contained* in
another when that has most of its distinct character n-grams. An inverted index of the evaluated
texts' rarer n-grams finds candidates in blocks of training texts; each is then counted exactly, so
nothing above the threshold is missed.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hybrid_dist.data.reading import PAIRS
from hybrid_dist.data.store.reader import Store
from hybrid_dist.evaluation.tasks import Task

LETTERS, FEWEST = 8, 24
"""Characters of an n-gram; texts with fewer n-grams are looked for as a whole only."""
DENSE = dict.fromkeys(("zh", "ja", "ko", "yue", "wuu", "lzh"), (4, 12))
"""The same for languages in which a character says more."""
RARE = 0.4
"""Share of a text's n-grams that are indexed, the rarest. More, where the threshold is so low that
a text could have enough of the others."""
CELLS = 1 << 24
WEIGHT = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 4096
MAX_CHECKED_AT_START = 200_000
"""Pairs, and texts evaluated on, that a run's start has the time to compare."""


class Evaluated(NamedTuple):
    """A query of a task, or a passage that answers one."""

    task: str
    kind: str
    lang: str
    id: str
    text: str


class Hit(NamedTuple):
    """A training text that tells an evaluated one."""

    share: float
    """Of the evaluated text's n-grams; 1 for the very text."""
    evaluated: Evaluated
    uid: str
    column: str
    text: str

    @property
    def exact(self) -> bool:
        return normalized_text(self.text) == normalized_text(self.evaluated.text)


def normalized_text(text: str) -> str:
    """What counts of a text: not its case, nor how words are set apart."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.casefold().split())


def primary_subtag(lang: str) -> str:
    """The language itself: varieties, and pools of one language, are compared."""
    return lang.partition("-")[0]


def ngrams(text: str, letters: int) -> np.ndarray:
    """The distinct n-grams of a squeezed text, as numbers."""
    return np.unique(_rolled(_code_points([text]), letters))


@dataclass
class Overlap:
    """What training texts tell of evaluated ones. `add` all pairs, then read what was found."""

    evaluated: Sequence[Evaluated]
    threshold: float = 0.8
    pairs: dict[str, int] = field(default_factory=dict)
    """Training pairs by language."""
    best: dict[int, Hit] = field(default_factory=dict)
    """Of each evaluated text that was found, by its number: where it is told most fully."""
    uids: set[str] = field(default_factory=set)
    """Of the training pairs that tell one."""

    def __post_init__(self) -> None:
        by_language: dict[str, list[int]] = {}
        for number, one in enumerate(self.evaluated):
            by_language.setdefault(primary_subtag(one.lang), []).append(number)
        self._indexes = {
            lang: _Index(lang, numbers, self.evaluated, self.threshold)
            for lang, numbers in by_language.items()
        }

    def add(self, block: pa.RecordBatch) -> None:
        """Look at a block of pairs: columns uid, lang, query and passage."""
        langs, uids = block.column("lang").to_pylist(), block.column("uid").to_pylist()
        rows: dict[str, list[int]] = {}
        for row, lang in enumerate(langs):
            rows.setdefault(lang, []).append(row)
        for lang, some in rows.items():
            self.pairs[lang] = self.pairs.get(lang, 0) + len(some)
            index = self._indexes.get(primary_subtag(lang))
            if index is None:
                continue
            for name in ("query", "passage"):
                texts = block.column(name).take(pa.array(some)).to_pylist()
                for place, number, share in index.search([normalized_text(text) for text in texts]):
                    self.uids.add(uids[some[place]])
                    if number not in self.best or share > self.best[number].share:
                        told = uids[some[place]], name, texts[place]
                        self.best[number] = Hit(share, self.evaluated[number], *told)


class _Index:
    """The evaluated texts of one language."""

    def __init__(
        self, lang: str, numbers: Sequence[int], texts: Sequence[Evaluated], threshold: float
    ) -> None:
        self.letters, self.fewest = DENSE.get(lang, (LETTERS, FEWEST))
        self.threshold = threshold
        self.whole: dict[str, list[int]] = {}
        for number in numbers:
            self.whole.setdefault(normalized_text(texts[number].text), []).append(number)
        grams = {text: ngrams(text, self.letters) for text in self.whole}
        self.texts = [text for text, found in grams.items() if len(found) >= self.fewest]
        self.grams = [grams[text] for text in self.texts]
        self._index()

    def _index(self) -> None:
        """Of every text, its rarest n-grams; how many of them a text that contains it has."""
        sizes = np.array([len(found) for found in self.grams], np.int64)
        every = np.concatenate([np.zeros(0, np.uint64), *self.grams])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        _, which, times = np.unique(every, return_inverse=True, return_counts=True)
        order = np.lexsort((times[which], owner))
        place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        indexed = np.ceil(max(RARE, 1.2 - self.threshold) * sizes).astype(np.int64)
        kept = order[place < indexed[owner[order]]]
        least = np.ceil(self.threshold * sizes - 1e-9).astype(np.int64)
        self.needed = least - (sizes - indexed)
        by_gram = kept[np.argsort(which[kept], kind="stable")]
        self.keys, first, counts = np.unique(every[by_gram], return_index=True, return_counts=True)
        self.first, self.counts, self.owners = first, counts, owner[by_gram]
        self.filled = np.zeros(CELLS, bool)
        self.filled[_cell(self.keys)] = True

    def search(self, texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """Place of a training text, number of an evaluated one in it, the share of it."""
        for place, text in enumerate(texts):
            for number in self.whole.get(text, ()):
                yield place, number, 1.0
        if self.texts:
            last, has = -1, np.zeros(0, np.uint64)
            for place, one in self._candidates(texts):
                if place != last:
                    last, has = place, ngrams(texts[place], self.letters)
                share = _share(self.grams[one], has)
                if share >= self.threshold and texts[place] != self.texts[one]:
                    for number in self.whole[self.texts[one]]:
                        yield place, number, share

    def _candidates(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Pairs of texts with enough indexed n-grams in common; some n-grams may come twice."""
        grams = _rolled(_code_points(texts), self.letters)
        here = np.flatnonzero(self.filled[_cell(grams)])
        found = grams[here]
        place = np.searchsorted(self.keys, found)
        place[place == len(self.keys)] = 0
        equal = self.keys[place] == found
        here, place = here[equal], place[equal]
        ends = np.cumsum([len(text) for text in texts])
        inside = np.searchsorted(ends, here, side="right")
        within = here + self.letters <= ends[np.minimum(inside, len(ends) - 1)]
        inside, place = inside[within], place[within]
        often = np.bincount(inside, minlength=len(texts)) >= self.needed.min()
        inside, place = inside[often[inside]], place[often[inside]]
        counts = self.counts[place]
        start = np.repeat(self.first[place] - (np.cumsum(counts) - counts), counts)
        owners = self.owners[start + np.arange(counts.sum())]
        pairs, times = np.unique(
            np.repeat(inside, counts) * len(self.texts) + owners, return_counts=True
        )
        pairs = pairs[times >= self.needed[pairs % len(self.texts)]]
        for pair in pairs.tolist():
            yield divmod(pair, len(self.texts))


def _share(wanted: np.ndarray, has: np.ndarray) -> float:
    """Of the wanted n-grams, how many are there; both are sorted."""
    places = np.searchsorted(has, wanted)
    return float(np.mean(has[np.minimum(places, len(has) - 1)] == wanted))


def _code_points(texts: Iterable[str]) -> np.ndarray:
    whole = "".join(texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(whole, np.uint32).astype(np.uint64)


def _rolled(points: np.ndarray, letters: int) -> np.ndarray:
    """A number for every n-gram, n a power of two: halves are put together."""
    values, width, weight = points, 1, WEIGHT
    with np.errstate(over="ignore"):
        while width < letters:
            if len(values) <= width:
                return np.zeros(0, np.uint64)
            values = values[:-width] * weight + values[width:]
            width, weight = 2 * width, weight * weight
        return (values ^ (values >> np.uint64(29))) * WEIGHT


def _cell(grams: np.ndarray) -> np.ndarray:
    return grams >> np.uint64(40)


def evaluated(task: Task) -> list[Evaluated]:
    """Queries, and the passages that answer any."""
    right = np.unique(task.relevant).tolist()
    asked = zip(task.query_language, task.query_ids, task.query_texts, strict=True)
    return [
        *(Evaluated(task.name, "query", task.languages[c], name, text) for c, name, text in asked),
        *(
            Evaluated(
                task.name,
                "passage",
                task.languages[task.passage_language[number]],
                task.passage_ids[number],
                task.passage_texts[number],
            )
            for number in right
        ),
    ]


def blocks(store: Store) -> Iterator[pa.RecordBatch]:
    """The pairs of a store, some rows at a time."""
    index = store.index
    for start in range(0, index.rows, BLOCK):
        rows = np.arange(start, min(start + BLOCK, index.rows))
        ends = index.negative_starts[start : start + len(rows) + 1]
        negatives = store.passage_texts(index.negatives[ends[0] : ends[-1]])
        listed = pa.ListArray.from_arrays(pa.array(ends - ends[0], pa.int32()), negatives)
        columns = {
            "uid": store.uids(rows),
            "lang": [index.languages[code] for code in index.language_of(rows)],
            "query": store.queries(rows),
            "passage": store.passages(rows),
            "negatives": listed.cast(PAIRS.field("negatives").type),
            "place": rows,
        }
        yield pa.RecordBatch.from_pydict(columns, PAIRS)


def check_overlap_at_start(
    stores: Sequence[Store], tasks: Sequence[Task], sources: Sequence[str]
) -> str:
    """What a run says of its own tasks: whether any of their texts is a training text."""
    if not tasks:
        return "overlap: no check was made, as eval.tasks names nothing to evaluate on"
    pairs = sum(store.index.rows for store in stores)
    texts = sum(len(task.query_ids) + len(np.unique(task.relevant)) for task in tasks)
    if max(pairs, texts) > MAX_CHECKED_AT_START:
        named = " ".join(f"{task.name}:{task.path}" for task in tasks)
        return (
            f"overlap: no check was made, as {pairs:,} pairs or the tasks are too many for a run's "
            f"start; hybrid-dist overlap {sources[0]} --task {named}"
        )
    sought = {
        (primary_subtag(t.lang), normalized_text(t.text)) for task in tasks for t in evaluated(task)
    }
    seen = set()
    for store in stores:
        for block in blocks(store):
            langs = [primary_subtag(lang) for lang in block.column("lang").to_pylist()]
            for name in ("query", "passage"):
                told = map(normalized_text, block.column(name).to_pylist())
                seen |= sought.intersection(zip(langs, told, strict=True))
    names = ", ".join(task.name for task in tasks)
    return (
        f"overlap: {len(seen):,} of the {len(sought):,} texts that {names} evaluates on are among "
        "the training texts, compared as a whole"
    )
