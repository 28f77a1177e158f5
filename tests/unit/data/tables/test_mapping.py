"""Mappings from options and from YAML files, and what is wrong with one."""

from pathlib import Path

import pytest

from hybrid_dist.data.tables.column_texts import Column
from hybrid_dist.data.tables.mapping import mapping_of, settings_of
from hybrid_dist.errors import UserError
from tests.support.published_files import write

BOTH = {"query": "q", "passage": "p"}


def test_options_name_the_columns_of_each_side() -> None:
    mapping = mapping_of({"query": "q1, q2", "passage": "p1,p2", "lang": "en,no"})
    assert [side.query.written for side in mapping.sides] == ["q1", "q2"]
    assert [side.lang for side in mapping.sides] == ["en", "no"]
    assert mapping.uid is None
    mapping = mapping_of({**BOTH, "lang_column": "l", "uid_column": "id", "negatives": "n1,n2"})
    assert [(option, column.name) for option, column in mapping.columns()] == [
        ("query", "q"), ("passage", "p"), ("lang_column", "l"), ("uid_column", "id"),
        ("negatives", "n1"), ("negatives", "n2"),
    ]  # fmt: skip


def test_commas_in_a_template_are_text() -> None:
    (side,) = mapping_of({"query": "{a}, {b}", "passage": "p", "lang": "en"}).sides
    assert side.query.text({"a": "x", "b": "y"}) == "x, y"


def test_a_file_gives_options_below_those_beside_it(tmp_path: Path) -> None:
    content = 'query: ["{a}, {b}"]\npassage: p\nlang: no\nwhere: [s > 1, "t = \'x\'"]\nsplit: dev\n'
    file = write(tmp_path / "m.yaml", content)
    settings = settings_of({"mapping": str(file), "passage": "text"})
    mapping = mapping_of(settings)
    assert settings["split"] == "dev"
    assert mapping.sides[0].lang == "no"
    assert mapping.sides[0].passage.written == "text"
    assert [condition.column for condition in mapping.where] == [Column("s"), Column("t")]


@pytest.mark.parametrize(
    ("below", "given"),
    [("lang_column: l", {"lang": "de"}), ("lang: de", {"lang_column": "l"})],
)
def test_a_language_beside_a_file_replaces_the_files(
    tmp_path: Path, below: str, given: dict[str, str]
) -> None:
    file = write(tmp_path / "m.yaml", f"query: q\npassage: p\n{below}\n")
    assert settings_of({"mapping": str(file), **given}) == {**BOTH, **given}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pasage: p", "unknown key 'pasage'; did you mean 'passage'"),
        ("mapping: other.yaml", "unknown key 'mapping'"),
        ("query: 7", "query: expected a text or a list of texts, found 7"),
        ("query: []", "query: expected a text or a list of texts, found []"),
        ("query: [a, {b: c}]", "query: expected a text or a list of texts"),
        ("query: a\nquery: b", "is not valid YAML: key 'query' is given twice"),
        ("- query", "expected options such as `query: question`, found a list"),
        ("", "expected options such as `query: question`, found nothing"),
    ],
)
def test_a_file_with_anything_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = write(tmp_path / "m.yaml", content)
    with pytest.raises(UserError) as refusal:
        settings_of({"mapping": str(file)})
    assert str(refusal.value).startswith(f"{file}: ")
    assert message in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"option mapping=.*none.yaml: no such file"):
        settings_of({"mapping": str(tmp_path / "none.yaml")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**BOTH, "lang": "en,de"}, "query names 1 columns, passage 1, and there are 2 languages"),
        ({**BOTH, "query": "a,b", "lang": "en,de"}, "query names 2 columns, passage 1"),
        (
            {"query": "{a},{b}", "passage": "c,d", "lang": "en,de"},
            "each side of a row has one of each; commas in a template are text: give several in a "
            'YAML file (option mapping), as a list such as ["{a}", "{b}"]',
        ),
        ({**BOTH, "lang": "english"}, "option lang=english: 'english' is no known language code"),
        ({**BOTH, "lang": "en", "lang_column": "l"}, "lang and lang_column: give one of the two"),
        ({**BOTH, "lang": "en", "uid_column": "a,b"}, "uid_column=a,b: name one column"),
        (
            {"query": "a,b", "passage": "c,d", "lang": "en,de", "negatives": "n"},
            "option negatives: rows of two sides have none",
        ),
        ({**BOTH, "lang": "en", "where": "a"}, "option where=a: cannot read 'a'"),
        ({**BOTH, "query": "{a", "lang": "en"}, "option query={a: '{' names no column"),
    ],
)
def test_a_mapping_that_does_not_fit_together_is_refused(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        mapping_of(options)
    assert message in str(refusal.value)
