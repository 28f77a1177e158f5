"""Published layouts: files of their shape with sentences of our own, and broken ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.tables.known_layouts import LAYOUTS
from hybrid_dist.errors import UserError
from tests.support.layout_rows import EN, OPTIONS, ROWS
from tests.support.published_files import json_lines, read

PAIRS: dict[str, list[tuple[Any, ...]]] = {
    "flagembedding": [
        ("a.jsonl:1#0", "en", "who?", "Ada.", ["Rye.", "A mill."], 9.5, [1, -2.5]),
        ("a.jsonl:1#1", "en", "who?", "Ada did.", ["Rye.", "A mill."], 7, [1, -2.5]),
        ("a.jsonl:2#0", "en", "what?", "A mill.", [], 3, []),
    ],
    "tevatron": [("7#0", "en", "who?", "Ada She did.", ["Rye It grows.", "A mill."])],
    "triplets": [
        ("a.jsonl:1", "en", "who?", "Ada.", ["Rye."]),
        ("a.jsonl:2", "en", "what?", "A mill.", ["Ada."]),
    ],
    "parallel_sentences": [
        ("a.jsonl:1", "en", "A mill.", "A mill.", []),
        ("a.jsonl:1", "de", "Eine Mühle.", "Eine Mühle.", []),
    ],
    "webfaq_bitexts": [
        ("a.jsonl:1", "en", "who?", "Ada.", []),
        ("a.jsonl:1", "de", "wer?", "Die Ada.", []),
    ],
    "swim_ir": [("a.jsonl:1", "de", "wer?", "Ada Sie war es.", [])],
    "nemo_inline": [
        ("a.jsonl:1", "en", "who?", "Ada.", ["Rye.", "A mill."]),
        ("a.jsonl:2#0", "en", "what?", "A mill.", ["Ada."]),
    ],
    "mfaq": [
        ("a.jsonl:1#0", "de", "wer?", "Ada.", []),
        ("a.jsonl:1#1", "de", "was?", "Eine Mühle.", []),
    ],
}


def pairs(name: str, *files: Path, **options: str) -> list[tuple[Any, ...]]:
    result, _ = read(name, *files, skip_bad=0, **{**OPTIONS.get(name, {}), **options})
    return [tuple(value for key, value in row.items() if key != "place") for row in result]


def test_every_layout_is_a_source_with_a_test() -> None:
    assert {layout.name for layout in LAYOUTS} == ROWS.keys() == PAIRS.keys()
    assert SOURCES.keys() >= ROWS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_a_layout_are_pairs(tmp_path: Path, name: str) -> None:
    assert pairs(name, json_lines(tmp_path / "a.jsonl", *ROWS[name])) == PAIRS[name]


@pytest.mark.parametrize("name", [name for name in ROWS if name != "nemo_inline"])
def test_parquet_of_a_layout_reads_alike(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS[name]), tmp_path / "a.parquet")
    expected = [(uid.replace("jsonl", "parquet"), *rest) for uid, *rest in PAIRS[name]]
    assert pairs(name, tmp_path / "a.parquet") == expected


Change = Callable[[dict[str, Any]], object]
BROKEN: list[tuple[str, Change, str]] = [
    ("flagembedding", lambda row: row.pop("query"), "has no column 'query', which option query"),
    (
        "flagembedding",
        lambda row: row.update(pos=["Ada.", ""]),
        ":1: column pos: expected a non-empty",
    ),
    ("flagembedding", lambda row: row["neg"].append(None), ":1: column neg: expected a non-empty"),
    (
        "flagembedding",
        lambda row: row["neg_scores"].pop(),
        "neg_scores: expected 2 scores, one per",
    ),
    (
        "flagembedding",
        lambda row: row["pos_scores"].pop(),
        "pos_scores: expected 2 scores, one per",
    ),
    (
        "flagembedding",
        lambda row: row["pos_scores"].append(1),
        "pos_scores: expected 2 scores, one",
    ),
    ("flagembedding", lambda row: row.update(pos_scores=9.5), "pos_scores: expected 2 scores, one"),
    ("flagembedding", lambda row: row.update(pos_scores=[1, "x"]), "pos_scores: expected a score"),
    ("tevatron", lambda row: row.pop("positive_passages"), "has no column 'positive_passages."),
    ("tevatron", lambda row: row["positive_passages"].append("x"), "expected an object with"),
    (
        "tevatron",
        lambda row: row["negative_passages"].append({"title": "", "text": ""}),
        "columns negative_passages.title, negative_passages.text: expected a text in one of them",
    ),
    ("tevatron", lambda row: row.update(query_id=None), ":1: column query_id: expected"),
    ("triplets", lambda row: row.update(positive=" "), ":1: column positive: expected"),
    ("triplets", lambda row: row.update(negative=7), ":1: column negative: expected"),
    ("parallel_sentences", lambda row: row.update(non_english=None), "column non_english: expect"),
    ("parallel_sentences", lambda row: row.pop("english"), "has no column 'english'"),
    ("webfaq_bitexts", lambda row: row.update(answer2=""), ":1: column answer2: expected"),
    ("webfaq_bitexts", lambda row: row.update(language1="xx"), "column language1: 'xx' is no"),
    ("swim_ir", lambda row: row.update(title="", text=""), "columns title, text: expected a text"),
    ("swim_ir", lambda row: row.pop("code"), "has no column 'code', which option lang_column"),
    ("nemo_inline", lambda row: row.update(pos_doc={"id": "d1"}), "column pos_doc: expected"),
    ("nemo_inline", lambda row: row.update(query=""), ":1: column query: expected"),
    ("mfaq", lambda row: row["qa_pairs"][1].pop("answer"), "column qa_pairs.answer: expected"),
    ("mfaq", lambda row: row.update(language="klingon!"), "column language: 'klingon!' is no"),
]


@pytest.mark.parametrize(("name", "change", "message"), BROKEN)
def test_a_broken_row_of_a_layout_is_named(
    tmp_path: Path, name: str, change: Change, message: str
) -> None:
    first: dict[str, Any] = json.loads(json.dumps(ROWS[name][0]))
    change(first)
    file = json_lines(tmp_path / "a.jsonl", first)
    with pytest.raises(UserError) as refusal:
        pairs(name, file)
    assert message in str(refusal.value)
    assert str(file) in str(refusal.value) or "give both" in message


def test_columns_that_may_lack_are_not_read(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", {"query": "who?", "pos": ["Ada."]})
    assert pairs("flagembedding", file) == [("a.jsonl:1#0", "en", "who?", "Ada.", [])]
    passage = {"docid": "d", "text": "Ada."}
    row = {"query_id": "7", "query": "who?", "positive_passages": [passage]}
    file = json_lines(tmp_path / "a.jsonl", row, row | {"query_id": "8", "negative_passages": []})
    assert pairs("tevatron", file) == [
        ("7#0", "en", "who?", "Ada.", []),
        ("8#0", "en", "who?", "Ada.", []),
    ]
    file = json_lines(tmp_path / "a.jsonl", {"question": "who?", "answer": "Ada."})
    assert pairs("triplets", file) == [("a.jsonl:1", "en", "who?", "Ada.", [])]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_scores_of_nulls_are_not_read(tmp_path: Path, suffix: str) -> None:
    row: dict[str, Any] = {"query": "who?", "pos": ["Ada."], "neg": ["Rye."]}
    row |= {"pos_scores": None, "neg_scores": None}
    file = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        json_lines(file, row)
    else:
        pq.write_table(pa.Table.from_pylist([row]), file)
    assert pairs("flagembedding", file) == [(f"a.{suffix}:1#0", "en", "who?", "Ada.", ["Rye."])]


def test_files_that_differ_in_columns_are_refused(tmp_path: Path) -> None:
    row = {"query": "who?", "pos": ["Ada."]}
    bare = json_lines(tmp_path / "bare.jsonl", row)
    full = json_lines(tmp_path / "full.jsonl", row | {"neg": ["Rye."]})
    for files in ((bare, full), (full, bare)):
        with pytest.raises(UserError) as refusal:
            pairs("flagembedding", *files)
        assert str(refusal.value).startswith(
            f"{bare}: has no neg, which option negatives of flagembedding reads, and {full} has it"
        )
    passages = {"query_id": 1, "query": "who?", "positive_passages": [{"text": "Ada."}]}
    bare = json_lines(tmp_path / "bare.jsonl", passages)
    titled = passages | {"positive_passages": [{"title": "Ada", "text": "She did."}]}
    full = json_lines(tmp_path / "full.jsonl", titled)
    with pytest.raises(UserError, match=r"bare.jsonl: has no \{positive_passages.title\} "):
        pairs("tevatron", bare, full)


def test_files_whose_columns_are_empty_go_with_others(tmp_path: Path) -> None:
    row = {"query": "who?", "pos": ["Ada."], "neg": None}
    empty = json_lines(tmp_path / "empty.jsonl", row)
    full = json_lines(tmp_path / "full.jsonl", row | {"neg": ["Rye."]})
    negatives = [negatives for *_, negatives in pairs("flagembedding", empty, full)]
    assert negatives == [[], ["Rye."]]


def test_negatives_may_begin_late(tmp_path: Path) -> None:
    row = {"query": "who?", "pos": ["Ada."], "neg": None}
    file = json_lines(tmp_path / "a.jsonl", *[row] * 1024, row | {"neg": ["Rye."]})
    assert pairs("flagembedding", file)[-1][-1] == ["Rye."]


def test_the_columns_beside_those_of_a_layout_are_not_read(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    content = {"anchor": ["who?"], "positive": ["Ada."], "other": broken}
    pq.write_table(pa.table(content), tmp_path / "a.parquet")
    assert pairs("triplets", tmp_path / "a.parquet") == [("a.parquet:1", "en", "who?", "Ada.", [])]


def test_a_language_replaces_a_layouts_column_of_languages(tmp_path: Path) -> None:
    row = {"query": "wer?", "title": "Ada", "text": "Sie war es.", "code": "German"}
    file = json_lines(tmp_path / "a.jsonl", row)
    expected: list[tuple[Any, ...]] = [("a.jsonl:1", "de", "wer?", "Ada Sie war es.", [])]
    assert pairs("swim_ir", file, lang="de") == expected
    file = json_lines(tmp_path / "a.jsonl", {k: row[k] for k in ("query", "title", "text")})
    assert pairs("swim_ir", file, lang="de") == expected
    with pytest.raises(UserError, match="options lang and lang_column: give one of the two"):
        pairs("swim_ir", file, lang="de", lang_column="code")


def test_texts_in_objects_are_read(tmp_path: Path) -> None:
    row = {"question": "who?", "pos_doc": [{"text": "Ada."}], "neg_doc": [{"text": "Rye."}]}
    file = json_lines(tmp_path / "a.jsonl", row)
    assert pairs("nemo_inline", file) == [("a.jsonl:1#0", "en", "who?", "Ada.", ["Rye."])]


def test_options_that_are_given_replace_a_layouts(tmp_path: Path) -> None:
    row = ROWS["webfaq_bitexts"][0]
    file = json_lines(tmp_path / "a.jsonl", row, row | {"labse_similarity": 0.5})
    assert len(pairs("webfaq_bitexts", file)) == 4
    assert len(pairs("webfaq_bitexts", file, where="labse_similarity > 0.8")) == 2
    file = json_lines(tmp_path / "a.jsonl", WIDE)
    ((*_, negatives),) = pairs("triplets", file, negatives="negative_2,negative_1")
    assert negatives == ["2", "1"]


WIDE = {"anchor": "who?", "positive": "Ada.", **{f"negative_{n}": f"{n}" for n in (1, 10, 2)}}


@pytest.mark.parametrize("more", [{}, {"negative": "0"}], ids=["numbered", "and one without"])
def test_numbered_columns_of_negatives_are_all_read(tmp_path: Path, more: dict[str, str]) -> None:
    file = json_lines(tmp_path / "a.jsonl", WIDE | more)
    assert pairs("triplets", file)[0][-1] == [*more.values(), "1", "2", "10"]


@pytest.mark.parametrize("other", [["negative_1"], ["negative"], ["negative_1", "negative_3"], []])
def test_files_that_number_negatives_differently_are_refused(
    tmp_path: Path, other: list[str]
) -> None:
    row = {"anchor": "who?", "positive": "Ada."}
    files = [
        json_lines(tmp_path / f"{count}.jsonl", row | dict.fromkeys(names, "Rye."))
        for count, names in enumerate((["negative_1", "negative_2"], other))
    ]
    with pytest.raises(UserError, match=r"has no negative.*, which option negatives of triplets"):
        pairs("triplets", *files)


def test_the_store_says_what_was_read(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", *ROWS["flagembedding"])
    reading = Reading(options=EN)
    store = prepare(SOURCES["flagembedding"], [str(file)], tmp_path / "store", reading)
    assert store.manifest["source"] == "flagembedding"
    assert store.manifest["mapping"] == {
        "query": "query",
        "passage": "pos",
        "negatives": "neg",
        "positive_score": "pos_scores",
        "negative_scores": "neg_scores",
        "lang": "en",
    }
    assert store.scores["positive_scores"].tolist() == [9.5, 7.0, 3.0]
    assert store.scores["negative_scores"].tolist() == [1.0, -2.5, 1.0, -2.5]


def test_scores_of_one_side_alone_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"query": "who?", "pos": ["Ada."], "neg": ["Rye."], "pos_scores": [1.5]}]
    json_lines(file, *rows)
    found, reading = read("flagembedding", file, skip_bad=0, lang="en")
    assert [(row["passage"], row["negatives"]) for row in found] == [("Ada.", ["Rye."])]
    assert "positive_score" not in found[0]
    assert reading.notes == [f"{file}: has pos_scores alone; no scores are kept"]
