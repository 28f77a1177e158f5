"""Queries with judged documents: BEIR's folders, MIRACL's files."""

from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import load_task
from tests.support.published_files import (
    HEADER,
    afriqa,
    collection,
    json_lines,
    read,
    relevance,
    rows,
    tsv,
)


def beir(folder: Path, lang: str = "en") -> Path:
    json_lines(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "Mills", "text": f"A mill grinds ({lang}).", "metadata": {}},
        {"_id": "d2", "title": "", "text": f"Ada wrote ({lang})."},
        {"_id": "d3", "title": "Rye", "text": f"Rye grows ({lang})."},
    )
    json_lines(
        folder / "queries.jsonl",
        {"_id": "1", "text": f"What grinds ({lang})?", "metadata": {}},
        {"_id": "2", "text": f"Who wrote ({lang})?"},
        {"_id": "3", "text": f"Asked in the train split ({lang})?"},
    )
    tsv(folder / "qrels" / "test.tsv", HEADER, ("1", "d1", 2), ("1", "d3", 1), ("2", "d2", 1),
        ("2", "d1", 0))  # fmt: skip
    tsv(folder / "qrels" / "train.tsv", HEADER, ("3", "d3", 1), ("3", "d2", 0))
    return folder


def test_a_beir_folder_is_a_collection_with_grades(tmp_path: Path) -> None:
    result = collection("beir", beir(tmp_path))
    assert relevance(result) == {
        ("en", "1"): {("en", "d1"): 2, ("en", "d3"): 1},
        ("en", "2"): {("en", "d2"): 1},
    }
    assert {p.text for p in result.passages} == {
        "Mills A mill grinds (en).", "Ada wrote (en).", "Rye Rye grows (en).",
    }  # fmt: skip


def test_a_beir_folder_s_train_split_is_pairs_with_negatives(tmp_path: Path) -> None:
    assert rows("beir", beir(tmp_path)) == [
        {
            "uid": "3:d3",
            "lang": "en",
            "query": "Asked in the train split (en)?",
            "passage": "Rye Rye grows (en).",
            "negatives": ["Ada wrote (en)."],
        }
    ]
    assert len(rows("beir", tmp_path, split="test", language="deu")) == 3
    assert {row["lang"] for row in rows("beir", tmp_path, language="deu")} == {"de"}


def test_folders_by_language_are_parallel_when_their_judgements_are(tmp_path: Path) -> None:
    for lang in ("en", "de"):
        beir(tmp_path / lang, lang)
    right = relevance(collection("beir", tmp_path))
    assert right["de", "2"] == right["en", "2"] == {("de", "d2"): 1, ("en", "d2"): 1}
    assert {(r["uid"], r["lang"]) for r in rows("beir", tmp_path)} == {
        ("3:d3", "de"),
        ("3:d3", "en"),
    }


def test_only_the_user_knows_whether_ids_with_other_documents_are_parallel(tmp_path: Path) -> None:
    for lang in ("en", "de"):
        beir(tmp_path / lang, lang)
    tsv(tmp_path / "de" / "qrels" / "test.tsv", HEADER, ("1", "d2", 1), ("2", "d2", 1))
    with pytest.raises(UserError, match=r"query 1 has other documents .*parallel=no"):
        collection("beir", tmp_path)
    apart = relevance(collection("beir", tmp_path, parallel="no"))
    assert apart["de", "de:1"] == {("de", "d2"): 1}
    assert apart["en", "en:1"] == {("en", "d1"): 2, ("en", "d3"): 1}
    together = relevance(collection("beir", tmp_path, parallel="yes"))
    assert together["de", "1"] == {("de", "d2"): 1, ("en", "d1"): 2, ("en", "d3"): 1}


@pytest.mark.parametrize("lines", [(HEADER,), (HEADER, ("1", "d1", 0), ("2", "d2", 0))])
def test_judgements_without_a_right_answer_are_refused(tmp_path: Path, lines: Any) -> None:
    """Passed over they would be a language less."""
    for lang in ("en", "de"):
        beir(tmp_path / lang, lang)
    file = tsv(tmp_path / "de" / "qrels" / "test.tsv", *lines)
    for read_some in (collection, rows):
        with pytest.raises(UserError, match=rf"{file}: judges no document as right"):
            read_some("beir", tmp_path, split="test")
    assert len(collection("beir", tmp_path, languages="en").queries) == 2


def test_languages_ask_a_corpus_that_is_in_another(tmp_path: Path) -> None:
    afriqa(tmp_path)
    task = load_task(f"beir:{tmp_path}")
    assert task.languages == ("bem", "en", "fon", "fr")
    assert relevance(collection("beir", tmp_path)) == {
        ("bem", "bem_0"): {("en", "en_0"): 1},
        ("fon", "fon_0"): {("fr", "fr_0"): 1},
    }
    assert list(task.left_out) == ["monolingual", "rank_distance"]
    with pytest.raises(UserError, match="a training pair is in one language"):
        rows("beir", tmp_path)


def test_missing_parts_of_a_beir_folder_are_named(tmp_path: Path) -> None:
    beir(tmp_path)
    with pytest.raises(
        UserError, match=r"no split 'tset'; did you mean 'test'\? \(option split=test\|tr"
    ):
        collection("beir", tmp_path, split="tset")
    with pytest.raises(UserError, match=r"unknown option 'spit'; did you mean 'split'"):
        collection("beir", tmp_path, spit="test")
    (tmp_path / "queries.jsonl").unlink()
    with pytest.raises(UserError, match=r"no queries file in it; expected corpus.jsonl"):
        collection("beir", tmp_path)


BAD_LINES = {
    "qrels: two columns": ("qrels/test.tsv", "1\td1\n", "expected query-id, corpus-id and score"),
    "qrels: a word": ("qrels/test.tsv", "1\td1\tgood\n", "expected query-id, corpus-id and score"),
    "qrels: no document": ("qrels/test.tsv", "1\td9\t1\n", "1 of 4 judged passages in en are not"),
    "qrels: no query id": ("qrels/test.tsv", "\td1\t1\n", "expected query-id, corpus-id and score"),
    "qrels: a grade of 30 digits": ("qrels/test.tsv", f"1\td1\t{'9' * 30}\n", "expected query-id"),
    "qrels: a grade with an underscore": ("qrels/test.tsv", "1\td1\t1_0\n", "expected query-id"),
    "corpus: a list as title": (
        "corpus.jsonl",
        '{"_id": "d4", "title": ["a"], "text": "x"}\n',
        "expected a text as 'title', found ['a']",
    ),
    "corpus: a number as text": (
        "corpus.jsonl",
        '{"_id": "d4", "text": 5}\n',
        "expected a text as 'text', found 5",
    ),
    "corpus: no text": ("corpus.jsonl", '{"_id": "d4"}\n', "as 'text', found only _id"),
    "qrels: two grades": ("qrels/test.tsv", "2\td2\t0\n", "judged 0 for query 2, but 1 at "),
    "corpus: nested too deeply": (
        "corpus.jsonl",
        f'{{"_id": "d4", "text": {"[" * 100_000}\n',
        "not JSON (nested too deeply); expected one object a line",
    ),
    "corpus: a list nested nearly too deeply": (
        "corpus.jsonl",
        f'{{"_id": {"[" * 800}{"]" * 800}, "text": "x"}}\n',
        "non-empty text as '_id'",
    ),
    "corpus: a number of 5,000 digits": (
        "corpus.jsonl",
        f'{{"_id": {"9" * 5000}, "text": "x"}}\n',
        "not JSON (Exceeds the limit (4300 digits)",
    ),
    "corpus: no JSON": ("corpus.jsonl", '{"_id": "d4", "te\n', "not JSON"),
    "corpus: no object": ("corpus.jsonl", "[1]\n", "expected a JSON object, found [1]"),
    "corpus: nothing told": (
        "corpus.jsonl",
        '{"_id": "d4", "title": "", "text": " "}\n',
        "expected a document with title and text",
    ),
    "corpus: no id": ("corpus.jsonl", '{"title": "", "text": "x"}\n', "non-empty text as '_id'"),
    "corpus: other text": (
        "corpus.jsonl",
        '{"_id": "d1", "title": "", "text": "x"}\n',
        "passage 'd1' has other text in 'en' than at",
    ),
    "queries: no text": ("queries.jsonl", '{"_id": "1"}\n', "'text', found only _id"),
    "queries: other text": (
        "queries.jsonl",
        '{"_id": "1", "text": "x"}\n',
        "query '1' has other",
    ),
    "queries: Latin-1": ("queries.jsonl", b'{"_id": "9", "text": "caf\xe9"}\n', "not UTF-8"),
    "queries: half a letter": (
        "queries.jsonl",
        '{"_id": "9", "text": "\\ud800"}\n',
        "half a letter",
    ),
}


@pytest.mark.parametrize(("name", "line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_and_may_be_passed_over(
    tmp_path: Path, name: str, line: str | bytes, message: str
) -> None:
    file = beir(tmp_path) / name
    before = file.read_bytes()
    place = f"{file}:{len(before.splitlines()) + 1}: "
    file.write_bytes(before + (line.encode() if isinstance(line, str) else line))
    with pytest.raises(UserError) as refusal:
        collection("beir", tmp_path)
    assert str(refusal.value).startswith(place)
    assert message in str(refusal.value)


def test_bad_lines_are_tolerated_up_to_a_number_and_listed(tmp_path: Path) -> None:
    file = beir(tmp_path) / "queries.jsonl"
    file.write_bytes(file.read_bytes() + b"{}\n[]\n")
    good, reading = read("beir", tmp_path, skip_bad=2)
    assert len(good) == 1
    assert [line.partition(": ")[0] for line in reading.bad] == [f"{file}:4", f"{file}:5"]
    with pytest.raises(UserError, match=rf"{file}:4: (?s:.*){file}:5: "):
        read("beir", tmp_path, skip_bad=1)


def miracl(folder: Path, *langs: str) -> Path:
    for lang in langs:
        inside = folder / f"miracl-v1.0-{lang}"
        for split, name in (("dev", "7"), ("train", "8")):
            stem = f"miracl-v1.0-{lang}-{split}.tsv"
            tsv(inside / "topics" / f"topics.{stem}", (name, f"Asked in {lang}?"))
            judged = ((name, "Q0", "1#0", 1), (name, "Q0", "1#1", 0))
            tsv(inside / "qrels" / f"qrels.{stem}", *judged)
        for number in range(2):
            json_lines(
                folder / f"miracl-corpus-v1.0-{lang}" / f"docs-{number}.jsonl.gz",
                {"docid": f"1#{number}", "title": "Mill", "text": f"Part {number} ({lang})."},
            )
    return folder


def test_miracl_s_ids_mean_something_within_a_language(tmp_path: Path) -> None:
    result = collection("miracl", miracl(tmp_path, "sw", "bn"))
    assert relevance(result) == {
        ("bn", "bn:7"): {("bn", "1#0"): 1},
        ("sw", "sw:7"): {("sw", "1#0"): 1},
    }
    assert [p.text for p in result.passages if p.lang == "sw"] == [
        "Mill Part 0 (sw).",
        "Mill Part 1 (sw).",
    ]
    assert len(collection("miracl", tmp_path, languages="swa").passages) == 2


def test_miracl_s_train_split_has_negatives(tmp_path: Path) -> None:
    assert rows("miracl", miracl(tmp_path, "sw")) == [
        {
            "uid": "sw:8:1#0",
            "lang": "sw",
            "query": "Asked in sw?",
            "passage": "Mill Part 0 (sw).",
            "negatives": ["Mill Part 1 (sw)."],
        }
    ]


def test_miracl_s_rows_hold_their_documents(tmp_path: Path) -> None:
    document = {"docid": "1#0", "title": "Mill", "text": "Told."}
    record = {
        "query_id": "8",
        "query": "Asked?",
        "positive_passages": [document],
        "negative_passages": [document | {"docid": "1#1", "text": "Beside."}],
    }
    json_lines(tmp_path / "sw" / "train.jsonl.gz", record)
    (pair,) = rows("miracl", tmp_path)
    assert (pair["uid"], pair["lang"], pair["passage"]) == ("sw:8:1#0", "sw", "Mill Told.")
    assert pair["negatives"] == ["Mill Beside."]
    file = json_lines(
        tmp_path / "sw" / "train.jsonl.gz", record, {**record, "negative_passages": 1}
    )
    with pytest.raises(UserError, match=rf"{file}:2: expected a list of documents as 'negative"):
        rows("miracl", tmp_path)


def test_the_train_split_is_taken_to_train(tmp_path: Path) -> None:
    document = {"docid": "1", "title": "", "text": "Told."}
    for split in ("train", "dev"):
        record = {"query_id": split, "query": "?", "positive_passages": [document]}
        json_lines(tmp_path / "sw" / f"{split}.jsonl", record | {"negative_passages": []})
    assert [row["uid"] for row in rows("miracl", tmp_path)] == ["sw:train:1"]
    assert [row["uid"] for row in rows("miracl", tmp_path, split="dev")] == ["sw:dev:1"]


def test_folders_that_are_named_by_no_language_are_refused(tmp_path: Path) -> None:
    miracl(tmp_path / "miracl", "sw")
    corpus = tmp_path / "miracl" / "miracl-corpus-v1.0-sw"
    corpus.rename(tmp_path / "miracl" / "passages")
    with pytest.raises(UserError, match=r"miracl/passages: 'passages' is no known language code"):
        collection("miracl", tmp_path / "miracl")
    beir(tmp_path / "beir" / "german")
    with pytest.raises(
        UserError, match=r"beir/german: 'german' is .* did you mean 'de'\?; its name"
    ):
        collection("beir", tmp_path / "beir")


def test_miracl_passages_may_be_in_another_folder_and_errors_name_missing_ones(
    tmp_path: Path,
) -> None:
    miracl(tmp_path, "sw")
    (tmp_path / "miracl-corpus-v1.0-sw").rename(tmp_path / "elsewhere-sw")
    topics = tmp_path / "miracl-v1.0-sw"
    assert len(collection("miracl", topics, corpus=str(tmp_path / "elsewhere-sw")).passages) == 2
    for act in (collection, rows):
        with pytest.raises(UserError) as refusal:
            act("miracl", topics)
        assert "sw (1 queries, 1 right of 2 judged) are there" in str(refusal.value)
        assert "expected miracl-corpus-v1.0-sw/docs-*.jsonl.gz" in str(refusal.value)


def test_a_judged_document_with_two_texts_is_refused_in_training_too(tmp_path: Path) -> None:
    file = beir(tmp_path) / "corpus.jsonl"
    file.write_bytes(file.read_bytes() + b'{"_id": "d3", "text": "other"}\n')
    with pytest.raises(
        UserError, match=rf"{file}:4: document 'd3' has other text than at {file}:3"
    ):
        rows("beir", tmp_path)


def test_ids_are_the_same_however_their_letters_are_composed(tmp_path: Path) -> None:
    file = beir(tmp_path) / "corpus.jsonl"
    file.write_bytes(file.read_bytes() + '{"_id": "Caf\u00e9", "text": "Told."}\n'.encode())
    tsv(tmp_path / "qrels" / "test.tsv", HEADER, ("1", "Cafe\u0301", 1))
    assert relevance(collection("beir", tmp_path)) == {("en", "1"): {("en", "Caf\u00e9"): 1}}
