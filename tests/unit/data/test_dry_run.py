"""A dry run: the first pairs, and the same counts and refusals as a preparation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.data.dry_run import EXAMPLES, DryRun, try_out
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.errors import UserError
from tests.support.published_files import json_lines

OPTIONS = {"query": "q", "passage": "a", "lang_column": "l", "uid_column": "id"}


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": number, "q": f"q{number}?", "a": f"a{number % 7}", "l": "en"} | changes


def run(file: Path, **options: str) -> tuple[DryRun, list[tuple[str, str]]]:
    shown: list[tuple[str, str]] = []

    def show(place: str, pair: Mapping[str, Any]) -> None:
        shown.append((place, pair["query"]))

    return try_out(SOURCES["table"], [str(file)], {**OPTIONS, **options}, show), shown


def test_it_shows_the_first_pairs_and_counts_all(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", *map(row, range(5000)), row(5000, l="de"))
    result, shown = run(file)
    assert shown == [(f"{file}:{n + 1}", f"q{n}?") for n in range(EXAMPLES)]
    assert result.languages == {
        "de": {"pairs": 1, "passages": 1},
        "en": {"pairs": 5000, "passages": 7},
    }
    assert result.reasons == []
    assert list(tmp_path.iterdir()) == [file]


def test_bad_rows_are_counted_by_what_is_wrong(tmp_path: Path) -> None:
    bad = [row(n, a=value) for n, value in enumerate(("", None, 3))]
    bad += [row(n, l=code) for n, code in enumerate(("xx", "yy"))]
    clash = [row(9), row(9, a="other")]
    file = json_lines(tmp_path / "a.jsonl", *bad, *clash, row(10, s=1))
    result, shown = run(file, where="id >= 0")
    assert [query for _, query in shown] == ["q9?", "q9?", "q10?"]
    assert result.languages["en"]["pairs"] == 2
    assert [(reason.what, reason.rows, reason.example) for reason in result.reasons] == [
        (
            "column a: expected a non-empty text",
            3,
            f"{file}:1: column a: expected a non-empty text, found ''",
        ),
        (
            result.reasons[1].what,
            2,
            f"{file}:4: column l: 'xx' is no known language code; expected one of ISO 639 or "
            "BCP-47, such as en, swa, pt-BR or zh-Hant",
        ),
        (
            "a uid has other text in language 'en'",
            1,
            f"{file}:7: uid '9' has other text in language 'en' than at {file}:6; give different "
            "pairs different uids",
        ),
    ]
    assert result.reasons[1].what.startswith("column l: the value is no known language code")
    assert result.notes == ["where id >= 0: left out 0 of 8 rows"]


def test_it_ends_well_where_no_pair_is_left(tmp_path: Path) -> None:
    result, shown = run(json_lines(tmp_path / "a.jsonl", row(1, a="")))
    assert (result.languages, shown) == ({}, [])
    assert [reason.rows for reason in result.reasons] == [1]


def test_it_ends_after_too_many_bad_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_dist.data.dry_run.MOST_BAD", 3)
    with pytest.raises(UserError, match=r"a.jsonl:4: column a"):
        run(json_lines(tmp_path / "a.jsonl", *(row(n, a="") for n in range(9))))
