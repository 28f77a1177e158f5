"""Texts of columns: names, fields with dots, templates with escapes, and lists."""

from typing import Any

import pytest

from hybrid_dist.data.sources.lines import BadRecord
from hybrid_dist.data.tables.column_texts import expand, parse_template
from hybrid_dist.errors import UserError

ROW: dict[str, Any] = {
    "title": "Mills",
    "text": "A mill grinds.",
    "year": 1802,
    "empty": "",
    "nothing": None,
    "a.b": "dotted",
    "answer": {"text": "Ada.", "more": {"deep": "down"}},
    "hits": [{"title": "One", "text": "1"}, {"title": None, "text": "2"}],
    "texts": ["x", "y"],
    "score": 0.5,
}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("title", "Mills"),
        (" title ", "Mills"),
        (r"{title}\n{text}", "Mills\nA mill grinds."),
        ("{title}\n{text}", "Mills\nA mill grinds."),
        (r"{title}\t{text}\\n", "Mills\tA mill grinds.\\n"),
        ("{{{title}}}", "{Mills}"),
        ("about {title}, {year}", "about Mills, 1802"),
        (r"{empty}\n{nothing}\n{text}", "A mill grinds."),
        ("a.b", "dotted"),
        ("{a.b}!", "dotted!"),
        ("answer.text", "Ada."),
        ("{ answer.more.deep }", "down"),
    ],
)
def test_a_text_is_made_of_columns(written: str, text: str) -> None:
    assert parse_template(written, "query").text(ROW) == text


def test_texts_are_normalized() -> None:
    assert parse_template("{q}", "query").text({"q": "cafe\u0301"}) == "caf\u00e9"
    assert parse_template("q", "query").text({"q": " cafe\u0301"}) == " caf\u00e9"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("empty", "column empty: expected a non-empty text, found ''"),
        ("nothing", "column nothing: expected a non-empty text, found None"),
        ("absent", "column absent: expected a non-empty text, found None"),
        ("year", "column year: expected a non-empty text, found 1802"),
        ("texts", "column texts: expected a non-empty text, found ['x', 'y']"),
        ("title.text", "column title.text: expected an object with 'text', found 'Mills'"),
        ("answer.none", "column answer.none: expected a non-empty text, found None"),
        (
            "{empty}: {nothing}",
            "columns empty, nothing: expected a text in one of them, found none",
        ),
        ("about {empty}", "column empty: expected a non-empty text, found ''"),
        (
            "{nothing}: {empty}",
            "columns nothing, empty: expected a text in one of them, found none",
        ),
        ("{title} {score}", "column score: expected a text, found 0.5"),
    ],
)
def test_a_column_without_text_is_named(written: str, message: str) -> None:
    with pytest.raises(BadRecord) as refusal:
        parse_template(written, "query").text(ROW)
    assert str(refusal.value) == message


def test_a_list_gives_a_text_for_each_element() -> None:
    assert parse_template("texts", "negatives").texts(ROW) == ["x", "y"]
    assert parse_template("hits.text", "negatives").texts(ROW) == ["1", "2"]
    both = parse_template("{title}: {hits.title} {hits.text}", "negatives")
    assert both.texts(ROW) == ["Mills: One 1", "Mills:  2"]
    assert parse_template("text", "negatives").texts(ROW) == ["A mill grinds."]
    for name in ("empty", "nothing", "absent"):
        assert parse_template(name, "negatives").texts(ROW) == []
    with pytest.raises(BadRecord, match=r"column a: expected a non-empty text, found None"):
        parse_template("a", "negatives").texts({"a": ["x", None]})


def test_a_row_is_expanded_along_one_list() -> None:
    query, passage = parse_template("text", "query"), parse_template("hits.text", "passage")
    rows = expand(ROW, [query, passage])
    assert rows is not None
    assert [(query.text(row), passage.text(row)) for row in rows] == [
        ("A mill grinds.", "1"),
        ("A mill grinds.", "2"),
    ]
    assert expand(ROW, [query]) is None
    with pytest.raises(BadRecord, match="columns texts and hits: both hold lists"):
        expand(ROW, [parse_template("texts", "query"), passage])


def test_a_list_in_an_object_is_one_too() -> None:
    row = {"q": "who?", "answers": {"text": ["Ada.", "She."], "start": [1, 2], "none": []}}
    query, passage = parse_template("q", "query"), parse_template("answers.text", "passage")
    rows = expand(row, [query, passage])
    assert rows is not None
    assert [(query.text(row), passage.text(row)) for row in rows] == [
        ("who?", "Ada."),
        ("who?", "She."),
    ]
    assert passage.texts(row) == ["Ada.", "She."]
    assert expand(row, [parse_template("answers.none", "passage")]) == []
    with pytest.raises(BadRecord, match=r"columns answers.text and answers.start: both hold lists"):
        expand(row, [passage, parse_template("answers.start", "query")])


def test_an_id_may_be_a_whole_number() -> None:
    assert parse_template("year", "uid_column").key(ROW) == "1802"
    assert parse_template("{title}-{year}", "uid_column").key(ROW) == "Mills-1802"
    for value in (True, 1.5, None, ""):
        with pytest.raises(BadRecord, match="column n: expected"):
            parse_template("n", "uid_column").key({"n": value})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{title", r"'{' names no column; write {COLUMN}, and {{ or }} for a brace"),
        ("title}", "'}' names no column"),
        ("{}", "'{}' names no column"),
        ("{a{b}}", "'{' names no column"),
        ("{{a}}", "has no column; write {COLUMN} for one"),
        ("  ", "is empty; name a column"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused(written: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_template(written, "query")
    assert message in str(refusal.value)
    assert "option query" in str(refusal.value)
