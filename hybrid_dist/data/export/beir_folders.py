"""Pairs as BEIR's corpus, queries and qrels: a folder for each language, or one pool of all."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from hybrid_dist.data.export.exported_pairs import BLOCK, Block, ExportedPairs
from hybrid_dist.data.export.trainer_lines import Record, write
from hybrid_dist.data.store.index import Index, Ints
from hybrid_dist.errors import UserError, short

QRELS = "qrels/train.tsv"
UNSAFE = re.compile(r'[\t\r\n"]')
"""What an id in a file of qrels cannot have: a delimiter, a line end or a quotation mark."""


def write_folders(pairs: ExportedPairs, folder: Path) -> None:
    """A folder for each language, in which a query is judged with its own passage."""
    names = _Names(pairs, in_pool=False)
    for language in pairs.languages:
        _write(names, [language], folder / language)


def write_pool(pairs: ExportedPairs, folder: Path) -> None:
    """One folder, in which a query is judged with the passages of its uid in all languages."""
    _write(_Names(pairs, in_pool=True), pairs.languages, folder)


class _Names:
    """The ids of queries and passages."""

    def __init__(self, pairs: ExportedPairs, in_pool: bool) -> None:
        self.pairs, self.in_pool = pairs, in_pool
        counts = pairs.store.manifest["languages"].values()
        self._starts = np.cumsum([0, *(count["passages"] for count in counts)])
        self._uid = _uid_of_passages(pairs.store.index, self._starts)

    def queries(self, block: Block) -> list[str]:
        """The uids, in a pool after their language."""
        prefix = f"{block.language}:" if self.in_pool else ""
        return [prefix + _safe(uid) for uid in block.uids]

    def passages(self, numbers: Ints) -> list[str]:
        """A uid for relevant passages; one that is only a negative has its number in a language."""
        uids = self._uid[numbers]
        names = iter(self.pairs.store.columns["uids"].take(uids[uids >= 0]))
        language = np.searchsorted(self._starts, numbers, side="right") - 1
        places = numbers - self._starts[language]
        prefixes = [f"{name}:" * self.in_pool for name in self.pairs.store.index.languages]
        columns = zip(uids.tolist(), places.tolist(), language.tolist(), strict=True)
        return [
            prefixes[code] + (f"p-{_safe(next(names))}" if uid >= 0 else f"n-{place}")
            for uid, place, code in columns
        ]

    def of_language(self, language: str) -> range:
        """The numbers of a language's passages."""
        number = self.pairs.store.index.languages.index(language)
        return range(*self._starts[number : number + 2].tolist())


def _uid_of_passages(index: Index, starts: Ints) -> Ints:
    """The uid that names each passage; -1 for one that is only a negative.

    Translations need equal ids. So the only passage in its language of uids that share passages in
    any language is named by the first of them; others by the first uid with this passage.
    """
    uid = np.full(starts[-1], -1)
    for (low, high), (first, last) in zip(
        pairwise(starts.tolist()), pairwise(index.language_starts.tolist()), strict=True
    ):
        of_language = uid[low:high]
        of_language[index.passage_of[first:last][::-1] - low] = index.row_uid[first:last][::-1]
        relevant = np.flatnonzero(of_language >= 0)
        cluster = index.uid_passage_cluster[of_language[relevant]]
        _, place, count = np.unique(cluster, return_inverse=True, return_counts=True)
        is_only = count[place] == 1
        of_language[relevant[is_only]] = cluster[is_only]
    return uid


def _safe(uid: str) -> str:
    if UNSAFE.search(uid):
        raise UserError(
            f"uid {short(uid)}: has a tab, a line end or a quotation mark, which ids in BEIR's "
            "qrels cannot have; prepare the pairs with other uids"
        )
    return uid


def _write(names: _Names, languages: Sequence[str], folder: Path) -> None:
    (folder / QRELS).parent.mkdir(parents=True)
    write(folder / "corpus.jsonl", _corpus(names, languages))
    write(folder / "queries.jsonl", _queries(names, languages))
    with (folder / QRELS).open("w", encoding="utf-8", newline="\n") as out:
        out.write("query-id\tcorpus-id\tscore\n")
        out.writelines(
            f"{query}\t{name}\t{grade}\n" for query, name, grade in _qrels(names, languages)
        )


def _corpus(names: _Names, languages: Sequence[str]) -> Iterator[Record]:
    """Every distinct passage, negatives too."""
    for language in languages:
        numbers = names.of_language(language)
        for first in range(numbers.start, numbers.stop, BLOCK):
            some = np.arange(first, min(first + BLOCK, numbers.stop))
            texts = names.pairs.store.passage_texts(some)
            for name, text in zip(names.passages(some), texts, strict=True):
                yield {"_id": name, "title": "", "text": text}


def _queries(names: _Names, languages: Sequence[str]) -> Iterator[Record]:
    for language in languages:
        for block in names.pairs.blocks(language):
            for name, text in zip(names.queries(block), block.queries, strict=True):
                yield {"_id": name, "text": text}


def _qrels(names: _Names, languages: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Each query's relevant passages with grade 1, then its negatives with grade 0."""
    for language in languages:
        for block in names.pairs.blocks(language):
            relevant = _relevant(names, block, languages)
            judged = [
                {**dict.fromkeys(negatives, 0), **dict.fromkeys(right, 1)}
                for right, negatives in zip(relevant, block.negative_numbers, strict=True)
            ]
            numbers = np.array([number for grades in judged for number in grades])
            ids = iter(names.passages(numbers))
            for query, grades in zip(names.queries(block), judged, strict=True):
                yield from ((query, next(ids), grade) for grade in grades.values())


def _relevant(names: _Names, block: Block, languages: Sequence[str]) -> list[list[int]]:
    """The passages relevant to each query of a block: its own; in a pool, those of its uid."""
    if not names.in_pool:
        return [[number] for number in block.passage_numbers]
    index = names.pairs.store.index
    uids = index.row_uid[block.rows]
    spans = zip(index.uid_starts[uids].tolist(), index.uid_starts[uids + 1].tolist(), strict=True)
    of_uid = [index.uid_rows[first:last] for first, last in spans]
    rows = np.concatenate(of_uid)
    codes = [index.languages.index(name) for name in languages]
    kept = np.isin(index.language_of(rows), codes)
    passages = np.where(kept, index.passage_of[rows], -1)
    ends = np.cumsum([len(some) for some in of_uid])
    return [some[some >= 0].tolist() for some in np.split(passages, ends[:-1])]
