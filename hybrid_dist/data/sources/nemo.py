"""NeMo Retriever's training files: questions with ids of documents, and the corpora beside them."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading, short
from hybrid_dist.data.sources.collecting import Pair, blocks
from hybrid_dist.data.sources.completeness import Missing, check_complete
from hybrid_dist.data.sources.lines import BadRecord, key, lines, text
from hybrid_dist.data.sources.pairs import collection_of_pairs
from hybrid_dist.data.sources.paths import find, local
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.tables.table_files import ALL, find_tables
from hybrid_dist.data.tables.table_rows import read_columns
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import json_problem, read_json

EXPECTED = 'JSON with "corpus" and "data"; of a folder, train*.json'
METADATA = "merlin_metadata.json"
Texts = dict[tuple[str, str], str]
"""Texts of documents by corpus and id."""


class Item(NamedTuple):
    """A question, with its documents by id."""

    place: int
    uid: str
    question: str
    corpus: str
    positives: list[str]
    negatives: list[str]


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every question with each of its positive documents."""
    return blocks(_pairs(paths, reading))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """The questions, and the documents that are positive for one."""
    return collection_of_pairs(pairs(paths, reading), paths, reading)


def _pairs(paths: Sequence[str], reading: Reading) -> Iterator[Pair]:
    lang = _language(reading)
    for path in paths:
        pattern = r".*\.json" if local(path).is_file() else r"(.*/)?train[^/]*\.json"
        for file, _ in find([path], pattern, EXPECTED):
            corpora, items = _read(reading, file)
            texts = _texts(reading, file, corpora, items, lang)
            for item in items:
                negatives = [(item.corpus, name) for name in item.negatives]
                for number, name in enumerate(item.positives):
                    if (item.corpus, name) in texts:
                        yield Pair(
                            f"{item.uid}#{number}",
                            lang,
                            item.question,
                            texts[item.corpus, name],
                            [texts[one] for one in negatives if one in texts],
                            item.place,
                        )


def _language(reading: Reading) -> str:
    given = reading.options.get("lang", "")
    try:
        return reading.language(given)
    except ValueError as error:
        problem = str(error) if given else "is missing; give the language, as in lang=en"
        raise UserError(f"option lang={given}: {problem}") from None


def _read(reading: Reading, file: Path) -> tuple[list[Path], list[Item]]:
    """The folders of a file's corpora, and its questions."""
    content = _content(reading, file)
    data = content.get("data") if isinstance(content, dict) else None
    corpora = content.get("corpus") if isinstance(content, dict) else None
    corpora = [corpora] if isinstance(corpora, dict) else corpora
    if not isinstance(data, list) or not isinstance(corpora, list):
        raise UserError(f"{file}: expected {EXPECTED}, found {short(content)}")
    items = []
    for number, record in enumerate(data, 1):
        try:
            items.append(_item(record, reading.place(file, number)))
        except BadRecord as problem:
            reading.refuse(f"{file}:{number}", str(problem))
    return [file.parent / _field(corpus, "path", f"{file}: corpus") for corpus in corpora], items


def _content(reading: Reading, file: Path) -> Any:
    """What a JSON file has, plain or compressed."""
    try:
        return json.loads("\n".join(line for _, line in lines(reading, file)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is not a JSON file ({json_problem(error)})") from None


def _field(value: Any, name: str, where: str) -> str:
    """The text in a field of an object."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object with {name!r}, found {short(value)}")
    try:
        return text(value, name)
    except BadRecord as error:
        raise UserError(f"{where}: {error}") from None


def _item(record: Any, place: int) -> Item:
    if not isinstance(record, Mapping):
        raise BadRecord(f"expected a question with its documents, found {short(record)}")
    positives, negatives = (_ids(record, name) for name in ("pos_doc", "neg_doc"))
    if not positives:
        raise BadRecord("expected ids of documents as 'pos_doc', found none")
    uid, question = key(record, "question_id"), text(record, "question")
    return Item(place, uid, question, text(record, "corpus_id"), positives, negatives)


def _ids(record: Mapping[str, Any], name: str) -> list[str]:
    """Ids as they are, or in objects."""
    listed = record.get(name) or []
    if not isinstance(listed, list):
        raise BadRecord(f"expected a list of ids as {name!r}, found {short(listed)}")
    return [key(one if isinstance(one, Mapping) else {"id": one}, "id") for one in listed]


def _texts(
    reading: Reading, file: Path, corpora: Sequence[Path], items: Sequence[Item], lang: str
) -> Texts:
    """The texts of all documents that questions name."""
    wanted: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for item in items:
        wanted[item.corpus].update(dict.fromkeys([*item.positives, *item.negatives]))
    texts: dict[tuple[str, str], tuple[str, int]] = {}
    places: dict[str, Path] = {}
    for folder in corpora:
        name = _corpus_id(folder, file)
        places[name] = folder
        for place, found, document in _documents(reading, folder, wanted[name]):
            first, before = texts.setdefault((name, found), (document, place))
            if first != document:
                reading.refuse(
                    reading.where(place),
                    f"document {found!r} has other text than at {reading.where(before)}",
                )
    gaps = []
    for name, ids in wanted.items():
        absent = [one for one in ids if (name, one) not in texts]
        if absent:
            holder = str(places.get(name, f"corpus {name!r}, which {file.name} does not list"))
            gaps.append(Missing(str(file), "documents", lang, absent, len(ids), holder))
    check_complete(reading, gaps)
    return {key: document for key, (document, _) in texts.items()}


def _corpus_id(folder: Path, file: Path) -> str:
    if not (folder / METADATA).is_file():
        raise UserError(f"{folder}: has no {METADATA}; {file} names this folder as a corpus")
    return _field(read_json(folder / METADATA), "corpus_id", str(folder / METADATA))


def _documents(
    reading: Reading, folder: Path, wanted: Mapping[str, None]
) -> Iterator[tuple[int, str, str]]:
    """Places, ids and texts of the documents of all tables in a folder."""
    for file, _ in find_tables([str(folder)], None, ALL):
        first = reading.place(file, 0)
        for number, record in read_columns(reading, file, ("id", "text")):
            try:
                name = key(record, "id")
                if name in wanted:
                    yield first + number, name, text(record, "text")
            except BadRecord as problem:
                reading.refuse(f"{file}:{number}", str(problem))


SOURCE = Source(
    "nemo",
    "NeMo Retriever's questions with ids of documents, and corpora; give lang",
    "train.json: corpus[path], data[question_id, question, corpus_id, pos_doc[id], neg_doc[id]]; "
    "corpus: id, text, and merlin_metadata.json (corpus_id)",
    pairs,
    collection,
    {"lang": "the language of all questions and documents"},
    evaluates_on_pairs=True,
)
