"""Files as data sets are published, with sentences of our own, for the readers' tests."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources import SOURCES
from tests.support.mteb_data import as_json_lines

HEADER = ("query-id", "corpus-id", "score")
"""Of BEIR's qrels."""


def write(file: Path, content: str | bytes) -> Path:
    """A file, compressed where its name says so."""
    raw = content.encode() if isinstance(content, str) else content
    if file.suffix == ".gz":
        raw = gzip.compress(raw)
    if file.suffix == ".zst":
        raw = pa.compress(raw, codec="zstd", asbytes=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw)
    return file


def json_lines(file: Path, *records: Any) -> Path:
    return write(file, as_json_lines(records))


def tsv(file: Path, *rows: Sequence[object]) -> Path:
    return write(file, "".join("\t".join(map(str, row)) + "\n" for row in rows))


def afriqa(folder: Path) -> None:
    """Languages that ask a corpus in another one, in AfriQA's layout."""
    json_lines(folder / "corpus.en.jsonl.gz", {"_id": "en_0", "title": "T", "text": "Told."})
    json_lines(folder / "corpus.fr.jsonl.gz", {"_id": "fr_0", "title": "T", "text": "Dit."})
    for lang, document in (("bem", "en_0"), ("fon", "fr_0")):
        query = {"_id": f"{lang}_0", "text": f"{lang}?", "metadata": {"pivot": "en"}}
        json_lines(folder / lang / "queries.dev.jsonl.gz", query)
        tsv(folder / lang / "qrels.dev.tsv.gz", HEADER, (f"{lang}_0", document, 1))


def units_with_passages(file: Path) -> None:
    """Units whose passages stand in their own lines."""
    json_lines(
        file,
        {"unit": "a", "lang": "en", "query": "About", "passage": "Told."},
        {"unit": "b", "lang": "en", "query": "More", "passage": "Told."},
        {"unit": "a", "lang": "zh_CN", "query": "关于", "passage": "说。"},
    )


def squad_json(paragraphs: Sequence[Mapping[str, Any]], indent: int | None = None) -> str:
    """SQuAD's JSON, every paragraph in an article of its own."""
    data = [{"title": f"Article {n}", "paragraphs": [p]} for n, p in enumerate(paragraphs)]
    return json.dumps({"version": "1.1", "data": data}, indent=indent, ensure_ascii=False)


def paragraph(*sentences: str, **queries: str) -> dict[str, Any]:
    """A paragraph with LAReQA's sentence_breaks; each query's answer is `text|words in it`."""
    context, breaks = "", []
    for sentence in sentences:
        context += " " if context else ""
        breaks.append([len(context), len(context) + len(sentence)])
        context += sentence
    entries = []
    for name, marked in queries.items():
        query, _, answer = marked.partition("|")
        start = context.index(answer)
        entries.append(
            {"id": name, "question": query, "answers": [{"text": answer, "answer_start": start}]}
        )
    return {
        "context": context,
        "sentence_breaks": breaks,
        "sentences": [*sentences],
        "qas": entries,
    }


def rows(name: str, *paths: Path | str, **options: str) -> list[dict[str, Any]]:
    """The training pairs of a source, without their places."""
    result, _ = read(name, *paths, skip_bad=0, **options)
    return [{key: row[key] for key in row if key != "place"} for row in result]


def read(
    name: str, *paths: Path | str, skip_bad: int = 0, **options: str
) -> tuple[list[dict[str, Any]], Reading]:
    reading = Reading(skip_bad=skip_bad, options=options)
    source = SOURCES[name]
    source.check(options)
    assert source.pairs is not None
    blocks = source.pairs([str(path) for path in paths], reading)
    return [row for block in blocks for row in block.to_pylist()], reading


def collection(name: str, *paths: Path | str, **options: str) -> Collection:
    source = SOURCES[name]
    source.check(options)
    assert source.collection is not None
    return source.collection([str(path) for path in paths], Reading(options=options))


def relevance(result: Collection) -> dict[tuple[str, str], dict[tuple[str, str], int]]:
    """The relevant passages of every query and their grades, by language and id."""
    relevant = {}
    for number, query in enumerate(result.queries):
        pairs = range(result.relevant_starts[number], result.relevant_starts[number + 1])
        passages = [
            (result.passages[int(result.relevant[p])], int(result.grades[p])) for p in pairs
        ]
        relevant[query.lang, query.id] = {(p.lang, p.id): grade for p, grade in passages}
    return relevant
