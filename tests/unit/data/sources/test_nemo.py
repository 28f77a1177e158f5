"""NeMo Retriever's questions with ids, and their corpora."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.errors import UserError
from tests.support.layout_rows import DOCUMENTS, NEMO, nemo
from tests.support.published_files import collection, json_lines, read, relevance, rows, write


def pairs(path: Path, **options: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows("nemo", path, **{"lang": "en", **options})]


PAIRS = [
    ("q1#0", "en", "who?", "Ada.", ["A mill."]),
    ("q1#1", "en", "who?", "Ada did.", ["A mill."]),
    ("2#0", "en", "what?", "A mill.", []),
]


def test_questions_get_the_texts_of_their_documents(tmp_path: Path) -> None:
    file = nemo(tmp_path / "train.json")
    assert pairs(file) == pairs(tmp_path) == PAIRS
    assert relevance(collection("nemo", file, lang="en"))["en", "2#0"] == {("en", "2#0"): 1}
    content = {**NEMO, "corpus": {"path": str(tmp_path / "mills")}}
    assert pairs(nemo(tmp_path / "other.json", content)) == PAIRS


def test_a_corpus_may_be_of_any_format(tmp_path: Path) -> None:
    file = nemo(tmp_path / "train.json")
    table = pq.read_table(tmp_path / "mills" / "train.parquet")
    (tmp_path / "mills" / "train.parquet").unlink()
    json_lines(tmp_path / "mills" / "train.jsonl.gz", *table.to_pylist())
    assert pairs(file) == PAIRS


def test_a_compressed_file_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    nemo(tmp_path / "train.json.gz")
    assert pairs(tmp_path) == pairs(tmp_path / "train.json.gz") == PAIRS
    write(tmp_path / "train.json.gz", '{"corpus": [],\n"data"')
    with pytest.raises(UserError, match=r"train.json.gz: is not a JSON file \(.*line 2 column 7"):
        pairs(tmp_path)


def test_a_corpus_is_all_of_its_tables(tmp_path: Path) -> None:
    file = nemo(tmp_path / "train.json")
    (tmp_path / "mills" / "train.parquet").unlink()
    documents = [{"id": name, "text": text} for name, text in DOCUMENTS.items()]
    json_lines(tmp_path / "mills" / "train.jsonl", *documents[:2])
    json_lines(tmp_path / "mills" / "test.jsonl", *documents[1:])
    assert pairs(file) == PAIRS
    json_lines(tmp_path / "mills" / "test.jsonl", *documents[2:], {"id": "d1", "text": "Bob."})
    with pytest.raises(UserError) as refusal:
        pairs(file)
    assert str(refusal.value) == (
        f"{tmp_path}/mills/train.jsonl:1: document 'd1' has other text than at "
        f"{tmp_path}/mills/test.jsonl:3"
    )


Change = Callable[[dict[str, Any]], object]
BROKEN: list[tuple[Change, str]] = [
    (lambda c: c["data"][1].update(question=""), ":2: expected a non-empty text as 'question'"),
    (lambda c: c["data"][1].pop("question_id"), ":2: expected a non-empty text as 'question_id'"),
    (lambda c: c["data"][1].update(pos_doc=[]), ":2: expected ids of documents as 'pos_doc'"),
    (lambda c: c["data"][1].update(pos_doc="d3"), ":2: expected a list of ids as 'pos_doc'"),
    (lambda c: c["data"][1].update(neg_doc=[{"text": "x"}]), "as 'id', found only text"),
    (lambda c: c["data"].append("q"), ":3: expected a question with its documents, found 'q'"),
    (lambda c: c["data"][1].update(pos_doc=["d9"]), "1 of 4 documents in en are not in "),
    (lambda c: c["data"][1].update(corpus_id="rye"), "not in corpus 'rye', which train.json does"),
    (lambda c: c.update(corpus=[{"path": "none"}]), "none: has no merlin_metadata.json"),
    (lambda c: c.update(corpus=[{}]), "corpus: expected a non-empty text as 'path'"),
    (lambda c: c.update(corpus=["mills"]), "corpus: expected an object with 'path', found 'mills'"),
    (lambda c: c.pop("data"), 'train.json: expected JSON with "corpus" and "data"'),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_broken_file_is_named(tmp_path: Path, change: Change, message: str) -> None:
    content = json.loads(json.dumps(NEMO))
    change(content)
    file = nemo(tmp_path / "train.json", content)
    with pytest.raises(UserError) as refusal:
        pairs(file)
    assert message in str(refusal.value)


def test_documents_that_are_missing_may_be_left_out(tmp_path: Path) -> None:
    content = json.loads(json.dumps(NEMO))
    content["data"][0]["neg_doc"].append("d9")
    content["data"][1]["pos_doc"] = ["d8"]
    file = nemo(tmp_path / "train.json", content)
    result, reading = read("nemo", file, lang="en", incomplete="allow")
    assert [row["uid"] for row in result] == ["q1#0", "q1#1"]
    assert "2 of 5 documents in en are not in" in reading.notes[0]


def test_a_broken_corpus_is_named(tmp_path: Path) -> None:
    file = nemo(tmp_path / "train.json")
    pq.write_table(pa.table({"id": ["d1"]}), tmp_path / "mills" / "train.parquet")
    with pytest.raises(UserError, match=r"train.parquet: expected columns id, text, found id"):
        pairs(file)
    table = pa.table({"id": ["d1", "d2"], "text": ["Ada.", None]})
    pq.write_table(table, tmp_path / "mills" / "train.parquet")
    with pytest.raises(UserError, match=r"train.parquet:2: expected a non-empty text as 'text'"):
        pairs(file)
    write(tmp_path / "mills" / "merlin_metadata.json", "[]")
    with pytest.raises(UserError, match=r"merlin_metadata.json: expected an object with"):
        pairs(file)


def test_the_language_is_needed(tmp_path: Path) -> None:
    file = nemo(tmp_path / "train.json")
    with pytest.raises(UserError, match="option lang=: is missing; give the language"):
        rows("nemo", file)
    with pytest.raises(UserError, match="option lang=english: 'english' is no known language"):
        rows("nemo", file, lang="english")
