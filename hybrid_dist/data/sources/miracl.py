"""MIRACL: topics and qrels of every language, and `docs-*.jsonl.gz` of its corpus.

Ids are unique within a language only. Train splits of the hub's rows with `positive_passages`
and `negative_passages` are read too, to train on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources import judged
from hybrid_dist.data.sources.collecting import Pair, blocks
from hybrid_dist.data.sources.judged import (
    Corpus,
    Named,
    Part,
    only_split,
    titled,
    with_title,
)
from hybrid_dist.data.sources.lines import BadRecord, Record, column, columns, key, records, text
from hybrid_dist.data.sources.paths import MatchedFile, search
from hybrid_dist.data.sources.source import (
    Source,
    check_languages,
    language_of,
    note_unjudged,
    wanted_languages,
)
from hybrid_dist.errors import UserError

TOPICS = r"(?:.*/)?topics\.miracl-v1\.0-(?P<lang>\w+)-(?P<split>[\w-]+)\.tsv"
QRELS = r"(?:.*/)?qrels\.miracl-v1\.0-(?P<lang>\w+)-(?P<split>[\w-]+)\.tsv"
DOCS = r"(?:.*/)?docs-\d+\.jsonl"
ROWS = (
    r"(?:.*/)?(?:miracl-v1\.0-)?(?P<lang>[a-z]{2,3})[/-](?P<split>train|dev)[\w.-]*"
    r"\.(jsonl|parquet)"
)
EXPECTED = (
    "topics.miracl-v1.0-sw-dev.tsv, qrels.miracl-v1.0-sw-dev.tsv and "
    "miracl-corpus-v1.0-sw/docs-0.jsonl.gz"
)


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every query with each relevant document; the ones judged 0 are negatives."""
    rows = list(search(_places(paths, reading), ROWS))
    if rows:
        return blocks(_row_pairs(reading, rows))
    return blocks(judged.pairs(reading, _parts(paths, reading, "train")))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """The judged queries of every language, and whole corpora."""
    return judged.collection(reading, _parts(paths, reading, "dev"))


def _places(paths: Sequence[str], reading: Reading) -> list[str]:
    return [*paths, *filter(None, [reading.options.get("corpus")])]


def _parts(paths: Sequence[str], reading: Reading, usual: str) -> list[Part]:
    """The queries, judgements and corpus of each language; missing corpora are refused."""
    where = ", ".join(paths)
    places = _places(paths, reading)
    qrels = list(search(places, QRELS))
    if not qrels:
        raise UserError(f"{where}: no qrels of MIRACL in it; expected {EXPECTED}")
    split = only_split(reading, [file.match["split"] for file in qrels], usual, where)
    topics = {_key(match): match.file for match in search(places, TOPICS)}
    documents: dict[str, list[MatchedFile]] = {}
    for corpus_file in search(places, DOCS):
        folder = corpus_file.file.absolute().parent
        lang = language_of(reading, folder.name.rpartition("-")[2], folder)
        documents.setdefault(lang, []).append(corpus_file)
    only = wanted_languages(reading)
    parts = []
    missing: dict[str, str] = {}
    judged_in = [file for file in qrels if file.match["split"] == split]
    languages = [language_of(reading, match["lang"], file) for file, match in judged_in]
    check_languages(reading, languages, where)
    query_langs = {
        language_of(reading, lang, file) for (lang, part), file in topics.items() if part == split
    }
    note_unjudged(reading, query_langs, languages, f"qrels of {split}")
    for lang, judgement_file in zip(languages, judged_in, strict=True):
        if only is not None and lang not in only:
            continue
        topic_file, qrels_file = topics.get(_key(judgement_file)), judgement_file.file
        if topic_file is None:
            raise UserError(f"{qrels_file}: its topics are missing; expected {EXPECTED}")
        if lang not in documents:
            missing[lang] = _count(reading, topic_file, qrels_file)
            continue
        corpora = tuple(Corpus(lang, _documents(file)) for file, _ in documents[lang])
        parts.append(Part.of_file(lang, _topics(topic_file), qrels_file, corpora, f"{lang}:"))
    if missing:
        described = ", ".join(f"{lang} ({counts})" for lang, counts in missing.items())
        raise UserError(
            f"{where}: topics and qrels of {described} are there, but not the passages that they "
            f"judge; expected miracl-corpus-v1.0-{next(iter(missing))}/docs-*.jsonl.gz of "
            "hf://miracl/miracl-corpus: put them below this folder, give the option corpus=FOLDER, "
            "or choose other languages with the option languages"
        )
    return parts


def _count(reading: Reading, topics: Path, qrels: Path) -> str:
    queries = sum(1 for _ in _topics(topics)(reading))
    answers = [answer for of in judged.judged_in(qrels)(reading).values() for answer in of.values()]
    right = sum(answer.grade > 0 for answer in answers)
    return f"{queries:,} queries, {right:,} right of {len(answers):,} judged"


def _key(file: MatchedFile) -> tuple[str, str]:
    return file.match["lang"], file.match["split"]


def _documents(file: Path) -> Named:
    return lambda reading: records(reading, file, titled("docid"))


def _topics(file: Path) -> Named:
    return lambda reading: columns(reading, file, _topic)


def _topic(cells: list[str]) -> tuple[str, str]:
    return column(cells, 0, "a query's id"), column(cells, 1, "a query")


def _row_pairs(reading: Reading, files: Sequence[MatchedFile]) -> Iterator[Pair]:
    """The pairs in rows that contain their documents."""
    splits = [file.match["split"] for file in files]
    split = only_split(reading, splits, "train", str(files[0].file.parent))
    only = wanted_languages(reading)
    chosen = [file for file in files if file.match["split"] == split]
    languages = [language_of(reading, match["lang"], file) for file, match in chosen]
    check_languages(reading, languages, f"split {split} of {files[0].file.parent}")
    for lang, (file, _) in zip(languages, chosen, strict=True):
        if only is None or lang in only:
            for place, (name, query, right, wrong) in records(reading, file, _row):
                negatives = list(wrong.values())
                for document, passage in right.items():
                    uid = f"{lang}:{name}:{document}"
                    yield Pair(uid, lang, query, passage, negatives, place)


def _row(record: Record) -> tuple[str, str, dict[str, str], dict[str, str]]:
    return (
        key(record, "query_id"),
        text(record, "query"),
        _passages(record, "positive_passages"),
        _passages(record, "negative_passages"),
    )


def _passages(record: Record, name: str) -> dict[str, str]:
    given = record.get(name)
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadRecord(f"expected a list of documents as {name!r}")
    return {key(one, "docid"): with_title(one) for one in given}


SOURCE = Source(
    "miracl",
    "MIRACL: topics, qrels and docs-*.jsonl.gz of every language; train splits with negatives",
    "topics.*.tsv, qrels.*.tsv, docs-*.jsonl.gz (docid, title, text), or "
    "LANG/train.jsonl.gz as tevatron",
    pairs,
    collection,
    {
        "split": "which topics and qrels; dev where there is one (to train: train)",
        "languages": "read these only, as in languages=sw,bn",
        "corpus": "where the docs-*.jsonl.gz are, if not in the same folder",
    },
)
