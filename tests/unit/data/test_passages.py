"""Passages to search are read from stores, pair files, JSON lines and plain text."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.data.passages import Passages
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError


def pair(uid: str, lang: str, passage: str, *negatives: str) -> dict[str, Any]:
    return {
        "uid": uid,
        "lang": lang,
        "query": f"{passage}?",
        "passage": passage,
        "negatives": negatives,
    }


PAIRS = [
    pair("b", "en", "two"),
    pair("a", "deu", "eins", "null"),
    pair("c", "en", "two"),
    pair("b", "de", "zwei"),
]
OF_PAIRS = [("", "de", "null"), ("a", "de", "eins"), ("b", "de", "zwei"), ("b", "en", "two")]


def lines(*records: Any) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


def prepared(folder: Path) -> str:
    (folder / "p.jsonl").write_text(lines(*PAIRS))
    Store.build(folder / "p.jsonl", folder / "store")
    return "store"


def in_two_files(folder: Path) -> str:
    (folder / "p1.jsonl").write_text(lines(*PAIRS[:2]))
    (folder / "p2.jsonl").write_text(lines(*PAIRS[2:]))
    return "p*.jsonl"


def compressed(folder: Path) -> str:
    records = ({"text": "b", "lang": "fr", "id": 7}, {"text": "a", "lang": "de"}, {"text": "c"})
    (folder / "p.jsonl.gz").write_bytes(gzip.compress(lines(*records).encode()))
    return "p.jsonl.gz"


def plain(folder: Path) -> str:
    (folder / "p.txt").write_text('{"first"}\n\n  e\u0301t\u00e9\n', "utf-8")
    return "p.txt"


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (prepared, OF_PAIRS),
        (in_two_files, OF_PAIRS),
        (compressed, [("p.jsonl.gz:3", "", "c"), ("p.jsonl.gz:2", "de", "a"), ("7", "fr", "b")]),
        (plain, [("p.txt:1", "", '{"first"}'), ("p.txt:3", "", "\u00e9t\u00e9")]),
    ],
)
def test_each_kind_of_file_gives_passages_by_language(
    write: Callable[[Path], str], expected: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    passages = Passages.read(str(tmp_path / write(tmp_path)), tmp_path / "cache")
    assert sorted(passages.texts, key=lambda text: (text.lang, text.id)) == expected
    for lang, rows in passages.rows.items():
        assert {text.lang for text in passages.texts[rows.start : rows.stop]} == {lang}
    assert sum(map(len, passages.rows.values())) == len(passages.texts)


def test_the_fingerprint_is_of_ids_and_languages(tmp_path: Path) -> None:
    def fingerprint(**change: Any) -> str:
        (tmp_path / "p.jsonl").write_text(lines({"id": "1", "lang": "de", "text": "a"} | change))
        return Passages.read(str(tmp_path / "p.jsonl")).fingerprint

    assert fingerprint() == fingerprint(text="b") != fingerprint(id="2")
    assert fingerprint() != fingerprint(lang="en")


@pytest.mark.parametrize(
    ("files", "named", "message"),
    [
        ({}, "no.jsonl", r"no\.jsonl: no such file"),
        ({"p.txt": b""}, "p.txt", r"p\.txt: is empty"),
        ({"p.txt": b"\n \n"}, "p.txt", "has no passages, only empty lines"),
        ({"p.txt": b"a\n\xff\n"}, "p.txt", r"p\.txt:2: not UTF-8 \(invalid start byte at byte 0\)"),
        ({"p.csv": b"a,b\n"}, "p.csv", r"p\.csv: is a table; .* prepare table"),
        ({"p.jsonl": b"[1]\n"}, "p.jsonl", r"p\.jsonl:1: expected a JSON object, found \[1\]"),
        ({"p.jsonl": b"{\n"}, "p.jsonl", r"p\.jsonl:1: not JSON"),
        ({"p": b'{"text": "a"}\n{"title": 1}\n'}, "p", r"p:2: expected a non-empty text as 'text'"),
        ({"p": b'{"text": " "}\n'}, "p", r"p:1: expected a non-empty text as 'text', found ' '"),
        ({"p": b'{"text": "\\ud800"}\n'}, "p", "p:1: expected text, found half a letter"),
        ({"p": b'{"text": "a", "lang": "xx"}\n'}, "p", "p:1: 'xx' is no known language code"),
        ({"p": b'{"text": "a", "id": []}\n'}, "p", r"p:1: expected a non-empty text as 'id'"),
        (
            {"p.jsonl": b'{"passage": "a"}\n'},
            "p.jsonl",
            r"p\.jsonl:1: expected a non-empty text as",
        ),
        ({"p1": b"a\n", "p2": b'{"text": "b"}\n'}, "p*", "different kinds .*p1 has lines of text"),
    ],
)
def test_other_files_are_refused(
    files: Mapping[str, bytes], named: str, message: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        Passages.read(str(tmp_path / named))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("fr", r"--in fr: no passage is in it; they are in de, en"),
        ("german", "--in: 'german' is no known language code; did you mean 'de'"),
    ],
)
def test_languages_without_passages_are_refused(code: str, message: str, tmp_path: Path) -> None:
    passages = Passages.read(str(tmp_path / prepared(tmp_path)))
    assert passages.of_languages(["eng", "deu", "de"]) == [range(3), range(3, 4)]
    with pytest.raises(UserError, match=message):
        passages.of_languages([code])


def test_texts_of_unknown_languages_have_none_to_choose(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--in de: no passage is in it; theirs are not known"):
        Passages.read(str(tmp_path / plain(tmp_path))).of_languages(["de"])
