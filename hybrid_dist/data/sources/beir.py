"""BEIR's folders: `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`, one or one per language.

Also one corpus for queries in several languages, as in AfriQA: `corpus.en.jsonl` above the folders
of the languages.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from hybrid_dist.data.languages import two_letters
from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources import judged
from hybrid_dist.data.sources.collecting import blocks
from hybrid_dist.data.sources.judged import (
    Corpus,
    Named,
    Part,
    check_parallel,
    only_split,
    titled,
)
from hybrid_dist.data.sources.lines import Record, key, records, text
from hybrid_dist.data.sources.paths import MatchedFile, local, search
from hybrid_dist.data.sources.source import (
    Source,
    check_languages,
    language_of,
    note_unjudged,
    wanted_languages,
    yes_or_no,
)
from hybrid_dist.errors import UserError

FOLDER = r"(?:(?P<folder>.*)/)?"
CORPUS = FOLDER + r"(corpus(\.(?P<lang>[\w-]+))?\.jsonl|corpus/[^/]+\.parquet)"
QUERIES = FOLDER + r"(queries(\.(?P<split>\w+))?\.jsonl|queries/[^/]+\.parquet)"
QRELS = FOLDER + r"qrels(/|\.)(?P<split>\w+)\.tsv"
EXPECTED = "corpus.jsonl, queries.jsonl and qrels/test.tsv, in it or in one folder per language"


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    return blocks(judged.pairs(reading, _parts(paths, reading, "train")))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    return judged.collection(reading, _parts(paths, reading, "test"))


def _parts(paths: Sequence[str], reading: Reading, usual: str) -> list[Part]:
    if len(paths) != 1:
        raise UserError(f"beir: give one folder, given {', '.join(paths)}")
    root = local(paths[0])
    corpora: dict[str, list[Corpus]] = {}
    for file, match in _files(root, CORPUS):
        folder = match["folder"] or ""
        lang = _language(reading, root, folder, match["lang"])
        corpora.setdefault(folder, []).append(Corpus(lang, _reader([file], titled("_id"))))
    queries = _files(root, QUERIES)
    qrels = _files(root, QRELS)
    if not corpora or not queries or not qrels:
        there = {"corpus": corpora, "queries": queries, "qrels": qrels}
        missing = ", ".join(name for name, files in there.items() if not files)
        raise UserError(f"{paths[0]}: no {missing} file in it; expected {EXPECTED}")
    split = only_split(reading, [file.match["split"] for file in qrels], usual, paths[0])
    only = wanted_languages(reading)
    parts = []
    with_qrels: set[str] = set()
    for file, match in qrels:
        folder = match["folder"] or ""
        lang = _language(reading, root, folder, None)
        if match["split"] != split:
            continue
        with_qrels.add(lang)
        if only is not None and lang not in only:
            continue
        beside = [one for one in queries if (one.match["folder"] or "") == folder]
        query_files = [one.file for one in beside if one.match["split"] == split]
        query_files = query_files or [one.file for one in beside if one.match["split"] is None]
        held = corpora.get(folder) or corpora.get("")
        if not query_files or not held:
            what = "queries.jsonl" if not query_files else "corpus.jsonl"
            raise UserError(f"{file}: {what} is missing beside it; expected {EXPECTED}")
        parts.append(Part.of_file(lang, _reader(query_files, _query), file, tuple(held)))
    check_languages(reading, with_qrels, paths[0])
    note_unjudged(
        reading, _query_languages(reading, root, queries, split), with_qrels, f"qrels of {split}"
    )
    if _parallel(reading, parts):
        return parts
    return [replace(part, prefix=f"{part.lang}:") for part in parts]


def _query_languages(
    reading: Reading, root: Path, queries: Sequence[MatchedFile], split: str
) -> set[str]:
    """The languages with queries of a split."""
    of_split = [one for one in queries if one.match["split"] in (None, split)]
    folders = {one.match["folder"] or "" for one in of_split}
    return {_language(reading, root, folder, None) for folder in folders}


def _files(root: Path, pattern: str) -> list[MatchedFile]:
    return list(search([str(root)], pattern))


def _language(reading: Reading, root: Path, folder: str, label: str | None) -> str:
    """The language in the name of a corpus or folder; English if there is none."""
    name = label or folder.rpartition("/")[2] or reading.options.get("language")
    if name:
        return language_of(reading, name, root / folder)
    return reading.language(root.name) if root.name in two_letters() else "en"


def _parallel(reading: Reading, parts: Sequence[Part]) -> bool:
    """Whether queries that share an id are parallel.

    They are if they have the same relevant documents everywhere; otherwise the user must say.
    """
    parallel = yes_or_no(reading, "parallel")
    if parallel is None and len(parts) > 1:
        check_parallel(
            reading,
            parts,
            "give the option parallel=yes if it is the same query, or parallel=no if ids mean "
            "something within a language only",
        )
    return parallel is not False


def _reader(files: Sequence[Path], parse: Callable[[Record], tuple[str, str]]) -> Named:
    """Reads a table, which may be in several Parquet files."""
    return lambda reading: chain.from_iterable(records(reading, file, parse) for file in files)


def _query(record: Record) -> tuple[str, str]:
    return key(record, "_id"), text(record, "text")


SOURCE = Source(
    "beir",
    "BEIR's folders, one or one per language; AfriQA's, with a corpus in another language",
    "corpus.jsonl (_id, title, text), queries.jsonl (_id, text), qrels/SPLIT.tsv "
    "(query-id, corpus-id, score)",
    pairs,
    collection,
    {
        "split": "which qrels; test where there is one (to train: train)",
        "language": "the language of a folder whose name does not tell one",
        "languages": "read these only, as in languages=af,de",
        "parallel": "yes or no: whether queries of one id in several languages are the same",
    },
)
