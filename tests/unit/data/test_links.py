"""Links: linked pairs get one uid, and what is wrong with a link is named."""

from pathlib import Path

import pytest

from hybrid_dist.data.changes import Changes
from hybrid_dist.data.dry_run import try_out
from hybrid_dist.data.links import read_links
from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.stored_pairs import stored_pairs
from hybrid_dist.errors import UserError
from tests.support.published_files import json_lines, tsv, write

TEXTS = {
    "en": ["a mill", "ada", "rye"],
    "de": ["Roggen", "eine Mühle", "Ada"],
    "fr": ["du seigle"],
}


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """A table of each language without uids."""
    return [
        str(tsv(tmp_path / f"{lang}.tsv", ("l", "q"), *((lang, text) for text in texts)))
        for lang, texts in TEXTS.items()
    ]


def linked(tables: list[str], out: Path, content: str, skip_bad: int = 0) -> Store:
    links = write(out.with_name("links.txt.gz"), content)
    options = {"query": "q", "passage": "{q}.", "lang_column": "l"}
    reading = Reading(skip_bad=skip_bad, options=options)
    return prepare(SOURCES["table"], tables, out, reading, changes=Changes(links))


def rows(store: Store) -> list[tuple[str, str, str]]:
    found = [row for block in stored_pairs(store) for row in block.to_pylist()]
    return sorted((row["uid"], row["lang"], row["query"]) for row in found)


def test_rows_that_are_linked_over_others_share_the_first_uid(
    tables: list[str], tmp_path: Path
) -> None:
    content = "en.tsv:4\tde.tsv:2\r\n\nfr.tsv:2\ten.tsv:4\nde.tsv:3\ten.tsv:2\nde.tsv:2\tfr.tsv:2\n"
    store = linked(tables, tmp_path / "store", content)
    assert rows(store) == [
        ("de.tsv:2", "de", "Roggen"),
        ("de.tsv:2", "en", "rye"),
        ("de.tsv:2", "fr", "du seigle"),
        ("de.tsv:3", "de", "eine Mühle"),
        ("de.tsv:3", "en", "a mill"),
        ("de.tsv:4", "de", "Ada"),
        ("en.tsv:3", "en", "ada"),
    ]
    assert store.manifest["links"] == f"{tmp_path}/links.txt.gz"
    assert store.manifest["notes"] == [f"{tmp_path}/links.txt.gz: 5 uids were joined to 2"]
    again = linked(tables[::-1], tmp_path / "again", content)
    assert again.fingerprint == store.fingerprint


def test_any_source_can_be_linked(tmp_path: Path) -> None:
    pairs = [
        {"uid": uid, "lang": lang, "query": f"{lang} {uid}", "passage": "p"}
        for uid, lang in (("e\u0301", "fr"), (7, "en"), (7, "de"), ("x", "en"))
    ]
    file = json_lines(tmp_path / "a.jsonl", *pairs)
    links = tsv(tmp_path / "links.tsv", (7, "e\u0301"))
    changes = Changes(links)
    store = prepare(SOURCES["pairs"], [str(file)], tmp_path / "s", Reading(), changes=changes)
    assert [(uid, lang) for uid, lang, _ in rows(store)] == [
        ("7", "de"),
        ("7", "en"),
        ("7", "fr"),
        ("x", "en"),
    ]
    seen = try_out(SOURCES["pairs"], [str(file)], {}, lambda *_: None, changes)
    assert seen.languages == store.manifest["languages"]


BAD = {
    "one id": ("en.tsv:2\n", 1, "expected two uids with a tab between them, found 'en.tsv:2'"),
    "three ids": ("a\tb\tc\n", 1, r"expected two uids with a tab between them, found 'a\tb\tc'"),
    "a blank id": ("en.tsv:2\t \n", 1, "expected two uids with a tab between them"),
    "one id twice": ("en.tsv:2\ten.tsv:2\n", 1, "links 'en.tsv:2' with itself"),
    "an unknown id": (
        "en.tsv:2\tde.tsv:3\nen.tsv:9\tde.tsv:3\n", 2,
        "no pair has the uid 'en.tsv:9'; in a table without uid_column, uids are file:row",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "line", "message"), BAD.values(), ids=BAD)
def test_bad_links_are_named(
    tables: list[str], tmp_path: Path, content: str, line: int, message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        linked(tables, tmp_path / "store", content)
    assert str(refusal.value).startswith(f"{tmp_path}/links.txt.gz:{line}: {message}")
    good = "en.tsv:2\tde.tsv:3\n"
    store = linked(tables, tmp_path / "store", content + good, skip_bad=1)
    assert len(store.manifest["bad"]) == 1
    assert next(uid for uid, lang, _ in rows(store) if lang == "en") == "de.tsv:3"


@pytest.mark.parametrize("unknown", ["a", "zz"])
def test_a_bad_link_that_is_skipped_joins_nothing(
    tables: list[str], tmp_path: Path, unknown: str
) -> None:
    content = f"en.tsv:2\t{unknown}\nde.tsv:2\t{unknown}\nen.tsv:3\tde.tsv:4\n"
    with pytest.raises(UserError, match=f"links.txt.gz:2: no pair has the uid '{unknown}'"):
        linked(tables, tmp_path / "store", content, skip_bad=1)
    store = linked(tables, tmp_path / "store", content, skip_bad=2)
    uids = {(lang, query): uid for uid, lang, query in rows(store)}
    assert uids["en", "a mill"] == "en.tsv:2"
    assert uids["de", "Roggen"] == "de.tsv:2"
    assert uids["en", "ada"] == uids["de", "Ada"] == "de.tsv:4"
    assert store.manifest["notes"] == [f"{tmp_path}/links.txt.gz: 2 uids were joined to 1"]


def test_two_texts_of_a_language_are_no_translations(tables: list[str], tmp_path: Path) -> None:
    content = "en.tsv:2\tde.tsv:3\nde.tsv:3\ten.tsv:3\n"
    with pytest.raises(UserError) as refusal:
        linked(tables, tmp_path / "store", content)
    assert str(refusal.value) == (
        f"{tables[0]}:3: uid 'de.tsv:3' has other text in language 'en' than at {tables[0]}:2; "
        f"{tmp_path}/links.txt.gz links them: a uid has one pair in a language"
    )
    assert len(rows(linked(tables, tmp_path / "store", content, skip_bad=1))) == 6


def test_a_file_of_links_has_links(tables: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"links.txt.gz: has no link; expected two uids"):
        linked(tables, tmp_path / "store", "\n\n")
    with pytest.raises(UserError, match=r"--links nowhere: no such file"):
        read_links(Path("nowhere"), Reading())
