"""Cleaning: what stays, whatever the order of the files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.data.changes import Changes
from hybrid_dist.data.cleaning import Cleaning
from hybrid_dist.data.dry_run import try_out
from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.stored_pairs import stored_pairs
from tests.support.published_files import json_lines

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def name(number: int) -> str:
    return " ".join(WORDS[int(digit)] for digit in f"{number * 7919 % 100_000:05}")


def pairs(language: str, uids: Sequence[int]) -> Iterator[dict[str, Any]]:
    for uid in uids:
        passage = f"{language}: the answer is {name(uid % 40 + 500)}, as said"
        query = f"{language} what of {name(uid)}?"
        yield {"uid": f"q{uid}", "lang": language, "query": query, "passage": passage}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """English and German of the same uids, some repeated in another case, and scores."""
    english = list(pairs("en", range(200)))
    again = [row | {"uid": f"{row['uid']}b", "query": row["query"].upper()} for row in english[:20]]
    return [
        str(json_lines(tmp_path / "a.jsonl", *english[:120])),
        str(json_lines(tmp_path / "b.jsonl", *english[120:], *again)),
        str(json_lines(tmp_path / "c.jsonl", *pairs("de", range(0, 200, 2)))),
    ]


def cleaned(files: Sequence[str], out: Path, *given: Any, **cleaning: Any) -> Store:
    changes = Changes(cleaning=Cleaning(*given, **cleaning))
    return prepare(SOURCES["pairs"], files, out, Reading(), changes=changes)


def uids(store: Store, language: str) -> set[str]:
    rows = [row for block in stored_pairs(store) for row in block.to_pylist()]
    return {row["uid"] for row in rows if row["lang"] == language}


@pytest.mark.parametrize(
    "cleaning",
    [
        {"near_duplicates": 0.9},
        {"max_per_passage": 2},
        {"sample_per_language": 50},
        {"near_duplicates": 0.9, "max_per_passage": 3, "sample_per_language": 60, "seed": 4},
    ],
    ids=str,
)
def test_the_order_of_files_does_not_matter(
    files: list[str], tmp_path: Path, cleaning: dict[str, Any]
) -> None:
    store = cleaned(files, tmp_path / "store", **cleaning)
    other = cleaned(files[::-1], tmp_path / "other", **cleaning)
    assert store.fingerprint == other.fingerprint
    assert store.manifest["notes"] == other.manifest["notes"]
    assert store.manifest["cleaning"] == {"seed": 0, **cleaning}
    assert store.index.num_rows < 320
    seen = try_out(
        SOURCES["pairs"], files, {}, lambda *_: None, Changes(None, Cleaning(**cleaning))
    )
    assert seen.notes == store.manifest["notes"]
    assert seen.languages == store.manifest["languages"]


def test_near_duplicates_are_counted_and_shown(files: list[str], tmp_path: Path) -> None:
    store = cleaned(files, tmp_path / "store", near_duplicates=0.95)
    kept = uids(store, "en")
    assert len(kept) == 200
    assert all((f"q{n}" in kept) != (f"q{n}b" in kept) for n in range(20))
    notes = store.manifest["notes"]
    assert notes[0] == "near duplicates at 0.95: left out 20 pairs (en 20)"
    assert len(notes) == 6
    assert notes[1].startswith("near duplicate: 'q")
    assert "similarity 1.00: 'en what of" in notes[1].casefold()


def test_a_passage_keeps_so_many_pairs_in_each_language(files: list[str], tmp_path: Path) -> None:
    store = cleaned(files, tmp_path / "store", max_per_passage=2)
    counts = Counter(store.index.passage_of.tolist())
    assert set(counts.values()) == {2}
    assert store.manifest["languages"]["en"] == {"pairs": 80, "passages": 40}
    assert store.manifest["notes"] == [
        "more than 2 pairs of a passage: left out 200 pairs (de 60, en 140)"
    ]


def test_a_sample_has_the_same_uids_in_all_languages(files: list[str], tmp_path: Path) -> None:
    one, other, again = (
        cleaned(files, tmp_path / str(n), sample_per_language=40, seed=seed)
        for n, seed in enumerate((1, 2, 1))
    )
    assert {len(uids(one, language)) for language in ("de", "en")} == {40}
    shared = {uid for uid in uids(one, "en") if uid in {f"q{n}" for n in range(0, 200, 2)}}
    assert shared <= uids(one, "de")
    assert len(shared) > 5
    assert uids(one, "en") != uids(other, "en")
    assert one.fingerprint == again.fingerprint


def test_scores_and_negatives_stay_with_their_pairs(tmp_path: Path) -> None:
    rows = [
        {"q": f"q{n}", "p": f"p{n}", "s": n / 8, "no": [f"n{n}", f"p{n + 1}"], "ns": [n, n + 1]}
        for n in range(9)
    ]
    file = json_lines(tmp_path / "a.jsonl", *rows)
    options = {"query": "q", "passage": "p", "lang": "en", "negatives": "no"}
    options |= {"positive_score": "s", "negative_scores": "ns"}
    source, paths = SOURCES["table"], [str(file)]
    reading = Reading(options=options)
    changes = Changes(cleaning=Cleaning(sample_per_language=4))
    store = prepare(source, paths, tmp_path / "store", reading, changes=changes)
    kept = [row for block in stored_pairs(store, scores=True) for row in block.to_pylist()]
    assert len(kept) == 4
    for row in kept:
        n = int(row["query"][1:])
        assert (row["passage"], row["negatives"]) == (f"p{n}", [f"n{n}", f"p{n + 1}"])
        assert (row["positive_score"], row["negative_scores"]) == (n / 8, [n, n + 1])
