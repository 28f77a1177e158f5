"""Rows as pairs: uids, sides, lists, negatives, conditions, and how a bad row is named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.data.reading import Reading
from hybrid_dist.errors import UserError
from tests.support.published_files import json_lines, read, rows, write

ROW: dict[str, Any] = {"question": "who?", "answer": "Ada.", "language": "en"}
USUAL = {"query": "question", "passage": "answer", "lang_column": "language"}


def read_table(
    file: Path, options: Mapping[str, str], skip_bad: int = 0
) -> tuple[list[dict[str, Any]], Reading]:
    return read("table", file, skip_bad=skip_bad, **options)


def pairs(file: Path, **options: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows("table", file, **options)]


def test_a_rows_uid_is_its_file_and_number(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", ROW, ROW | {"language": "pt_BR"})
    expected: list[tuple[Any, ...]] = [
        ("a.jsonl:1", "en", "who?", "Ada.", []),
        ("a.jsonl:2", "pt-BR", "who?", "Ada.", []),
    ]
    assert pairs(file, **USUAL) == pairs(tmp_path, **USUAL) == expected
    result, reading = read_table(file, USUAL)
    assert reading.where(result[1]["place"]) == f"{file}:2"
    assert reading.named == {"pt_BR": "pt-BR"}
    assert reading.mapping == USUAL


def test_a_column_may_hold_the_uid(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", *(ROW | {"id": uid} for uid in ("x", 7)))
    assert [uid for uid, *_ in pairs(file, **USUAL, uid_column="id")] == ["x", "7"]
    assert [uid for uid, *_ in pairs(file, **USUAL, uid_column="q{id}")] == ["qx", "q7"]


def test_constant_text_alone_is_no_text_and_no_uid(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", ROW | {"title": None, "id": None})
    for option, written, column in (
        ("query", "about {title}", "title"),
        ("uid_column", "q{id}", "id"),
    ):
        with pytest.raises(UserError, match=f"a.jsonl:1: column {column}: expected a non-empty"):
            pairs(file, **{**USUAL, option: written})


def test_the_sides_of_a_row_share_its_uid(tmp_path: Path) -> None:
    row = {"q1": "who?", "q2": "wer?", "a1": "Ada.", "a2": "Die Ada.", "l1": "eng", "l2": "deu"}
    file = json_lines(tmp_path / "a.jsonl", row)
    sides = {"query": "q1,q2", "passage": "a1,a2"}
    expected: list[tuple[Any, ...]] = [
        ("a.jsonl:1", "en", "who?", "Ada.", []),
        ("a.jsonl:1", "de", "wer?", "Die Ada.", []),
    ]
    assert pairs(file, **sides, lang_column="l1,l2") == expected
    assert pairs(file, **sides, lang="en,de") == expected


def test_each_element_of_a_list_is_a_pair(tmp_path: Path) -> None:
    row = {
        "query": "who?",
        "good": [{"title": "A", "text": "Ada."}, {"title": None, "text": "Bob."}],
        "bad": [{"text": "Rye."}],
    }
    file = json_lines(tmp_path / "a.jsonl", row, row | {"good": []})
    options = {"query": "query", "passage": r"{good.title}\n{good.text}", "lang": "en"}
    _, reading = read_table(file, options)
    assert reading.notes == ["1 of 2 rows have an empty list and give no pair"]
    assert pairs(file, **options, negatives="bad.text") == [
        ("a.jsonl:1#0", "en", "who?", "A\nAda.", ["Rye."]),
        ("a.jsonl:1#1", "en", "who?", "Bob.", ["Rye."]),
    ]


def test_lists_of_whole_pairs_are_read_together(tmp_path: Path) -> None:
    row = {"qa": [{"q": "who?", "a": "Ada.", "l": "en"}, {"q": "wer?", "a": "Die Ada.", "l": "de"}]}
    file = json_lines(tmp_path / "a.jsonl", row)
    assert pairs(file, query="qa.q", passage="qa.a", lang_column="qa.l") == [
        ("a.jsonl:1#0", "en", "who?", "Ada.", []),
        ("a.jsonl:1#1", "de", "wer?", "Die Ada.", []),
    ]


def test_negatives_are_of_several_columns_and_lists(tmp_path: Path) -> None:
    row = ROW | {"n1": "Rye.", "n2": ["Bob.", "Eve."], "n3": None}
    file = json_lines(tmp_path / "a.jsonl", row)
    assert pairs(file, **USUAL, negatives="n1,n2,n3")[0][-1] == ["Rye.", "Bob.", "Eve."]


def test_conditions_leave_rows_out_before_their_texts_are_checked(tmp_path: Path) -> None:
    some = [ROW | {"score": score} for score in (0.9, 0.7, None)]
    file = json_lines(tmp_path / "a.jsonl", *some, ROW | {"score": 1.0, "answer": ""})
    where = "score > 0.8 and answer != ''"
    result, reading = read_table(file, {**USUAL, "where": where})
    assert len(result) == 1
    assert reading.notes == [f"where {where}: left out 3 of 4 rows"]
    with pytest.raises(UserError, match=r"a.jsonl: option where=score > 2 leaves out all 4 rows"):
        pairs(file, **USUAL, where="score > 2")


def test_columns_of_parquet_that_are_not_named_are_not_read(tmp_path: Path) -> None:
    """A damaged column beside those of the mapping does not matter."""
    raw = pa.array([b"\xff"])
    broken = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({**{k: [v] for k, v in ROW.items()}, "other": broken}), file)
    assert pairs(file, **USUAL) == [("a.parquet:1", "en", "who?", "Ada.", [])]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({"answer": " "}, "column answer: expected a non-empty text, found ' '"),
    "null": ({"question": None}, "column question: expected a non-empty text, found None"),
    "number": ({"answer": 3}, "column answer: expected a non-empty text, found 3"),
    "language": ({"language": "xx"}, "column language: 'xx' is no known language code"),
    "no language": ({"language": None}, "column language: expected a language code, found None"),
    "half a letter": ({"answer": "\ud83d"}, "expected text, found half a letter"),
    "id": ({"id": 1.5}, "column id: expected a non-empty text, found 1.5"),
    "negative": ({"no": ["a", ""]}, "column no: expected a non-empty text, found ''"),
    "score": ({"score": "high"}, "column score: expected a number, found 'high'"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named_by_file_row_and_column(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    good = ROW | {"id": 1, "no": ["Rye."], "score": 1}
    lines = [good, good | change, good]
    file = tmp_path / "a.jsonl"
    write(file, "".join(f"{json.dumps(line)}\n" for line in lines))
    options = {**USUAL, "uid_column": "id", "negatives": "no", "where": "score > 0"}
    with pytest.raises(UserError) as refusal:
        pairs(file, **options)
    assert str(refusal.value).startswith(f"{file}:2: ")
    assert message in str(refusal.value)
    kept, reading = read_table(file, options, skip_bad=1)
    assert len(kept) == 2
    assert len(reading.bad) == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize("option", ["query", "passage", "lang_column", "negatives", "where"])
def test_a_column_that_is_not_there_is_named_with_the_nearest(
    tmp_path: Path, option: str, name: str
) -> None:
    file = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist([ROW]), file)
    elif name == "a.csv":
        write(file, "question,answer,language\nwho?,Ada.,en\n")
    else:
        json_lines(file, ROW)
    wrong = "anser != ''" if option == "where" else "anser"
    with pytest.raises(UserError) as refusal:
        pairs(file, **{**USUAL, option: wrong})
    assert str(refusal.value) == (
        f"{file}: has no column 'anser', which option {option} names; did you mean 'answer'? "
        "(its columns: question, answer, language)"
    )


def test_a_field_that_is_not_there_is_named(tmp_path: Path) -> None:
    row = {"query": "who?", "good": [{"titel": "A", "text": "Ada."}], "bad": []}
    file = json_lines(tmp_path / "a.jsonl", row)
    with pytest.raises(UserError) as refusal:
        pairs(file, query="query", passage="{good.title} {good.text}", lang="en")
    assert str(refusal.value) == (
        f"{file}: has no column 'good.title', which option passage names; did you mean "
        "'good.titel'? (its columns: good.titel, good.text)"
    )
    assert pairs(file, query="query", passage="good.text", lang="en", negatives="bad.text")


def test_without_options_the_columns_are_named(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", ROW)
    with pytest.raises(UserError) as refusal:
        pairs(file, passage="answer")
    assert str(refusal.value) == (
        f"{file}: say which columns make the pairs: give the options query, lang or lang_column "
        "(its columns: question, answer, language)"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"delimiter": ";;"}, "option delimiter=;;: expected one character, or tab"),
        ({"quotes": "none"}, "option quotes=none: expected yes or no"),
        ({"columns": "a,a"}, "option columns=a,a: a name comes twice"),
        ({"spilt": "dev"}, "table: unknown option 'spilt'; did you mean 'split'"),
    ],
)
def test_other_options_are_checked(tmp_path: Path, option: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        pairs(json_lines(tmp_path / "a.jsonl", ROW), **USUAL, **option)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "header", "hint"),
    [
        ("a.csv", "q;p", "; give the option 'delimiter=;'"),
        ("a.csv", "q\tp", "; give the option 'delimiter=tab'"),
        ("a.tsv", "q,p", "; give the option 'delimiter=,'"),
        ("a.csv", "q p", ""),
        ("a.csv", "q;p,l", ""),
    ],
)
def test_another_delimiter_is_named(tmp_path: Path, name: str, header: str, hint: str) -> None:
    file = write(tmp_path / name, f"{header}\n")
    for options in ({"query": "q", "passage": "p", "lang": "en"}, {"lang": "en"}):
        with pytest.raises(UserError) as refusal:
            pairs(file, **options)
        assert str(refusal.value).endswith(f"){hint}")


def test_cells_without_a_header(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "who?;Ada.\nwer?;Die Ada.\n")
    options = {"columns": "q,p", "delimiter": ";", "query": "q", "passage": "p", "lang": "en"}
    assert [row[2:4] for row in pairs(file, **options)] == [("who?", "Ada."), ("wer?", "Die Ada.")]
