"""Units with passage tables, and MKQA."""

from pathlib import Path

import pytest

from hybrid_dist.errors import UserError
from tests.support.published_files import (
    collection,
    json_lines,
    read,
    relevance,
    rows,
    units_with_passages,
)

UNITS = [
    {"unit": "mill#0", "lang": "en", "query": "grind", "passage_id": "en:mill", "n_langs": 2},
    {"unit": "mill#0", "lang": "pt_BR", "query": "moer", "passage_id": "pt:mill", "n_langs": 2},
    {"unit": "mill#1", "lang": "en", "query": "stop", "passage_id": "en:mill", "n_langs": 1},
]
TABLE = [
    {"_id": "en:mill", "lang": "en", "text": "mill: grinds.", "code": ["mill -g", "mill -s"]},
    {"_id": "pt:mill", "lang": "pt_BR", "text": "mill: mói.", "code": ["mill -g"]},
    {"_id": "en:rye", "lang": "en", "text": "rye: grows.", "code": ["rye"]},
]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    json_lines(tmp_path / "pairs.jsonl.gz", *UNITS)
    json_lines(tmp_path / "passages.jsonl.gz", *TABLE)
    (tmp_path / "PROVENANCE.md").write_text("no data")
    return tmp_path


def test_units_are_parallel_and_the_whole_table_is_searched(units: Path) -> None:
    result = collection("units", units)
    both = {("en", "en:mill"): 1, ("pt-BR", "pt:mill"): 1}
    assert relevance(result) == {
        ("en", "mill#0"): both,
        ("pt-BR", "mill#0"): both,
        ("en", "mill#1"): {("en", "en:mill"): 1},
    }
    assert sorted(p.id for p in result.passages) == ["en:mill", "en:rye", "pt:mill"]
    assert {p.id for p in collection("units", units, languages="pt_BR").passages} == {"pt:mill"}


def test_a_unit_is_a_training_pair(units: Path) -> None:
    pairs, reading = read("units", units)
    assert [(r["uid"], r["lang"], r["query"], r["passage"]) for r in pairs] == [
        ("mill#0", "en", "grind", "mill: grinds."),
        ("mill#0", "pt-BR", "moer", "mill: mói."),
        ("mill#1", "en", "stop", "mill: grinds."),
    ]
    assert reading.named == {"pt_BR": "pt-BR"}
    assert reading.where(pairs[2]["place"]) == f"{units / 'pairs.jsonl.gz'}:3"


def test_fields_make_the_passage(units: Path) -> None:
    (first, *_) = rows("units", units, fields="text,code")
    assert first["passage"] == "mill: grinds.\nmill -g\nmill -s"
    with pytest.raises(UserError, match=r"passages.jsonl.gz:1: expected a non-empty text as 'cod'"):
        rows("units", units, fields="text,cod")


@pytest.mark.parametrize("value", [["a", 1], [None], [["a"]]])
def test_lists_of_other_things_than_texts_are_refused(units: Path, value: object) -> None:
    file = json_lines(units / "passages.jsonl.gz", {**TABLE[0], "code": value}, *TABLE[1:])
    with pytest.raises(UserError, match=rf"{file}:1: expected a text or a list of texts as 'code'"):
        rows("units", units, fields="text,code")


def test_a_passage_of_empty_lists_is_none(units: Path) -> None:
    file = json_lines(units / "passages.jsonl.gz", {**TABLE[0], "code": []}, *TABLE[1:])
    assert rows("units", units, fields="text,code")[0]["passage"] == "mill: grinds.\n"
    with pytest.raises(UserError, match=rf"{file}:1: expected a passage in code, found none"):
        rows("units", units, fields="code")


def test_tables_by_language_belong_to_their_units(tmp_path: Path) -> None:
    for lang in ("ar", "he"):
        unit = {"unit": f"{lang}:1", "lang": lang, "query": f"{lang}?", "passage_id": "p0"}
        json_lines(tmp_path / f"{lang}.pairs.jsonl.gz", unit)
        passage = {"_id": "p0", "lang": lang, "text": f"told in {lang}"}
        json_lines(tmp_path / f"{lang}.passages.jsonl.gz", passage)
    assert [r["passage"] for r in rows("units", tmp_path)] == ["told in ar", "told in he"]
    assert len(rows("units", tmp_path / "he.pairs.jsonl.gz")) == 1


def test_passages_may_stand_in_the_units_lines(tmp_path: Path) -> None:
    units_with_passages(tmp_path / "sections.jsonl.gz")
    result = collection("units", tmp_path)
    assert [(p.lang, p.id) for p in result.passages] == [("en", "a"), ("zh", "a")]
    assert relevance(result)["en", "b"] == {("en", "a"): 1}


def test_mkqa_asks_in_all_its_languages(tmp_path: Path) -> None:
    answer = {"type": "entity", "entity": "Q1", "text": "Ada", "aliases": ["Ada L."]}
    long = {"type": "long_answer", "text": None}
    record = {
        "query": "who wrote it",
        "queries": {
            "en": "who wrote it",
            "zh_cn": "谁写的",
            "zh_hk": "誰寫的",
            "zh_tw": "誰寫了它",
        },
        "answers": {"en": [answer], "zh_cn": [answer], "zh_hk": [answer], "zh_tw": [long]},
        "example_id": 563260143484355911,
    }
    file = json_lines(tmp_path / "mkqa.jsonl.gz", record)
    pairs, reading = read("units", tmp_path)
    assert [(r["uid"], r["lang"], r["query"], r["passage"]) for r in pairs] == [
        ("563260143484355911", "en", "who wrote it", "Ada"),
        ("563260143484355911", "zh", "谁写的", "Ada"),
        ("563260143484355911", "zh-HK", "誰寫的", "Ada"),
    ]
    assert "without an answer that is text" in reading.notes[0]
    json_lines(file, record, {**record, "answers": {"en": [{"text": 5}]}})
    with pytest.raises(UserError, match=rf"{file}:2: expected answers with a text in 'en', found"):
        rows("units", file)
    json_lines(file, record, {**record, "queries": {"xx": "?"}})
    with pytest.raises(UserError, match=rf"{file}:2: 'xx' is no known language code"):
        rows("units", file)


BAD = {
    "no language": ({"unit": "x", "query": "q", "passage": "p"}, "'lang', found only unit"),
    "unknown language": ({**UNITS[0], "lang": "english"}, "did you mean 'en'"),
    "no query": ({**UNITS[0], "query": ""}, "non-empty text as 'query', found ''"),
    "no unit": ({**UNITS[0], "unit": None}, "non-empty text as 'unit', found None"),
}


@pytest.mark.parametrize(("record", "message"), BAD.values(), ids=BAD)
def test_a_bad_unit_is_named(units: Path, record: dict[str, object], message: str) -> None:
    file = json_lines(units / "pairs.jsonl.gz", *UNITS, record)
    with pytest.raises(UserError) as refusal:
        rows("units", units)
    assert str(refusal.value).startswith(f"{file}:4: ")
    assert message in str(refusal.value)
    assert len(read("units", units, skip_bad=1)[0]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": [1]}, "expected a text or a list of texts as 'code', found [1]"),
        ({"text": [], "code": [""]}, "expected a passage in text, code, found none"),
    ],
)
def test_a_bad_passage_is_named(units: Path, change: dict[str, object], message: str) -> None:
    file = json_lines(units / "passages.jsonl.gz", {**TABLE[0], **change}, *TABLE[1:])
    with pytest.raises(UserError) as refusal:
        rows("units", units, fields="text,code")
    assert str(refusal.value) == f"{file}:1: {message}"


def test_a_table_that_contradicts_itself_is_refused(units: Path) -> None:
    file = json_lines(units / "passages.jsonl.gz", *TABLE, {**TABLE[0], "text": "other"})
    with pytest.raises(
        UserError, match=rf"{file}:4: passage en:mill has other text than at {file}:1"
    ):
        rows("units", units)


def test_a_missing_table_is_named_in_the_error(units: Path) -> None:
    (units / "passages.jsonl.gz").unlink()
    with pytest.raises(UserError, match=r"expected one table of them, passages.jsonl \(or .gz\)"):
        rows("units", units)
