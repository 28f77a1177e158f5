"""WebFAQ's retrieval data: tables joined by id."""

from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.errors import UserError
from tests.support.layout_rows import webfaq
from tests.support.published_files import collection, json_lines, read, relevance, rows, write

README = """---
configs:
- config_name: deu-corpus
  data_files: [{split: corpus, path: x/1.jsonl}]
- config_name: deu-queries
  data_files: [{split: train, path: x/2.jsonl}, {split: test, path: x/3.jsonl}]
- config_name: deu-qrels
  data_files: [{split: train, path: x/4.jsonl}, {split: test, path: x/5.jsonl}]
---
"""


def test_judged_passages_are_pairs(tmp_path: Path) -> None:
    webfaq(tmp_path)
    result, reading = read("webfaq_retrieval", tmp_path, languages="deu,eng")
    assert [tuple(row.values())[:4] for row in result] == [
        ("de:q0:d0", "de", "deu query 0?", "deu passage 0"),
        ("de:q1:d1", "de", "deu query 1?", "deu passage 1"),
        ("en:q0:d0", "en", "eng query 0?", "eng passage 0"),
        ("en:q1:d1", "en", "eng query 1?", "eng passage 1"),
    ]
    assert reading.where(result[0]["place"]) == f"{tmp_path}/deu/corpus.jsonl:1"
    test = rows("webfaq_retrieval", tmp_path, languages="deu", split="test")
    assert [row["uid"] for row in test] == ["de:q2:d3"]


def test_the_test_split_is_evaluated_on(tmp_path: Path) -> None:
    webfaq(tmp_path)
    result = collection("webfaq_retrieval", tmp_path, languages="deu,eng")
    assert relevance(result) == {
        ("de", "de:q2"): {("de", "d3"): 1},
        ("en", "en:q2"): {("en", "d3"): 1},
    }
    assert len(result.passages) == 8


def test_the_hubs_list_tells_the_files(tmp_path: Path) -> None:
    write(tmp_path / "README.md", README)
    contents: list[list[dict[str, Any]]] = [
        [{"_id": "d0", "text": "Ada."}],
        [{"_id": "q0", "text": "wer?"}],
        [{"_id": "q1", "text": "was?"}],
        [{"query-id": "q0", "corpus-id": "d0", "score": 1.0}],
        [{"query-id": "q1", "corpus-id": "d0", "score": 1.0}],
    ]
    for number, content in enumerate(contents, 1):
        json_lines(tmp_path / "x" / f"{number}.jsonl", *content)
    (row,) = rows("webfaq_retrieval", tmp_path, languages="deu")
    assert (row["uid"], row["query"], row["passage"]) == ("de:q0:d0", "wer?", "Ada.")


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "no text": ("deu/corpus.jsonl", {"_id": "d0", "text": None}, ":1: expected a document"),
    "no query": ("deu/queries.jsonl", {"_id": "q0", "text": ""}, ":1: expected a non-empty text"),
    "no column": ("deu/queries.jsonl", {"id": "q0", "text": "x"}, "expected columns _id, text, fo"),
    "no score": (
        "deu/qrels/train.jsonl",
        {"query-id": "q0", "corpus-id": "d0", "score": "high"},
        ":1: expected a whole number as 'score', found 'high'",
    ),
    "half a score": (
        "deu/qrels/train.jsonl",
        {"query-id": "q0", "corpus-id": "d0", "score": 0.5},
        ":1: expected a whole number as 'score', found 0.5",
    ),
    **{
        f"score {score}": (
            "deu/qrels/train.jsonl",
            {"query-id": "q0", "corpus-id": "d0", "score": score},
            ":1: expected a whole number as 'score'",
        )
        for score in (float("nan"), float("inf"), 10**30, True)
    },
    "other query": (
        "deu/qrels/train.jsonl",
        {"query-id": "q9", "corpus-id": "d0", "score": 1},
        "1 of 1 judged queries in de are not in deu-queries (first: q9)",
    ),
    "other passage": (
        "deu/qrels/train.jsonl",
        {"query-id": "q0", "corpus-id": "d9", "score": 1},
        "1 of 1 judged passages in de are not in deu-corpus (first: d9)",
    ),
}


@pytest.mark.parametrize(("name", "record", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_named(
    tmp_path: Path, name: str, record: dict[str, Any], message: str
) -> None:
    webfaq(tmp_path)
    json_lines(tmp_path / name, record)
    with pytest.raises(UserError) as refusal:
        rows("webfaq_retrieval", tmp_path, languages="deu")
    assert message in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


def judge(passage: str, score: int) -> dict[str, object]:
    return {"query-id": "q0", "corpus-id": passage, "score": score}


TWICE: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "query": (
        "queries.jsonl",
        [{"_id": name, "text": text} for name, text in (("q0", "wer?"), ("q0", "was?"))],
        "query 'q0' has other text than at ",
    ),
    "grade": (
        "qrels/train.jsonl",
        [judge("d0", 1), judge("d0", 2)],
        "d0 is judged 2 for query q0, but 1 at ",
    ),
    "no": (
        "qrels/train.jsonl",
        [judge("d0", 0), judge("d0", 1)],
        "d0 is judged 1 for query q0, but 0 at ",
    ),
}


@pytest.mark.parametrize(("name", "records", "message"), TWICE.values(), ids=TWICE)
def test_what_is_said_twice_and_differs_is_refused(
    tmp_path: Path, name: str, records: list[dict[str, Any]], message: str
) -> None:
    webfaq(tmp_path)
    file = json_lines(tmp_path / "deu" / name, *records)
    with pytest.raises(UserError) as refusal:
        rows("webfaq_retrieval", tmp_path, languages="deu")
    assert str(refusal.value).startswith(f"{file}:2: {message}{file}:1")
    json_lines(file, records[0], records[0], judge("d1", 1))
    if name != "queries.jsonl":
        uids = [row["uid"] for row in rows("webfaq_retrieval", tmp_path, languages="deu")]
        assert uids == ["de:q0:d0"] * records[0]["score"] + ["de:q0:d1"]


def test_missing_passages_are_refused_in_evaluation_too(tmp_path: Path) -> None:
    webfaq(tmp_path)
    json_lines(tmp_path / "deu/corpus.jsonl", {"_id": "d0", "text": "Ada."})
    with pytest.raises(UserError, match="1 of 1 judged passages in de are not in deu-corpus"):
        collection("webfaq_retrieval", tmp_path, languages="deu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give the languages, as in the option languages=deu,fra"),
        ({"languages": "xxx"}, "option languages=xxx: 'xxx' is no known language code"),
        ({"languages": "fra"}, "no file or folder is named after config 'fra-qrels'"),
        ({"languages": "deu", "split": "dev"}, "has no split 'validation'"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, str], message: str) -> None:
    webfaq(tmp_path)
    with pytest.raises(UserError) as refusal:
        read("webfaq_retrieval", tmp_path, skip_bad=0, **options)
    assert message in str(refusal.value)
