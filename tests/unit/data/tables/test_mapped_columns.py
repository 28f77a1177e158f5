"""Blocks mapped column by column: the pairs of the row by row path, or none."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.data.tables.mapping import mapping_of
from hybrid_dist.data.tables.table_rows import BATCH
from tests.support.published_files import read
from tests.support.table_paths import by_columns_and_by_rows

LANGUAGES = ["en", "deu", "en", "zh_CN"]
TABLE = pa.table(
    {
        "id": [7, 8, 9, 10],
        "key": ["a", "e\u0301", "c", "d"],
        "q": ["who?", "wer?", " what e\u0301 ", "什么？"],
        "q2": ["q", "r", "s", "t"],
        "title": ["Ada", None, "", "\u2003"],
        "text": pa.array(["She.", " Sie.\n", "It.", "磨坊。"], pa.large_string()),
        "l": pa.array(LANGUAGES).dictionary_encode(),
        "n": pa.array([None, "x", "", "y\u0301"], pa.string_view()),
        "no": [["a", "b"], None, [], ["e\u0301"]],
        "none": pa.nulls(4),
        "s": [0.5, None, float("nan"), 2.0],
        "s32": pa.array([0.1, 0.8, None, 1.0], pa.float32()),
        "count": pa.array([1, 2, None, 4], pa.uint64()),
        "large": pa.array([2**53 + 1, 2**53, None, 2**64 - 1], pa.uint64()),
        "d": [Decimal("0.80"), None, Decimal("-1.5"), Decimal("2.25")],
        "ok": [True, False, None, True],
    }
)
USUAL = {"query": "q", "passage": "text", "lang_column": "l"}
MAPPINGS: dict[str, dict[str, str]] = {
    "usual": {},
    "uid of a number": {"uid_column": "id"},
    "uid of a text": {"uid_column": "key"},
    "uid of both": {"uid_column": "{key}-{id}"},
    "template": {"passage": r"{title}\n{text} ({count}{none})"},
    "constant language": {"lang": "pt_BR"},
    "two sides": {"query": "q,q2", "passage": "text,key", "lang_column": "l,l"},
    "negatives": {"negatives": "n,no,none,q2"},
    "numbers": {"where": "s > 0.4"},
    "not a number": {"where": "s != 2"},
    "rounded": {"where": "s32 < 0.8"},
    "whole numbers": {"where": "count >= 1.5 and id < 10"},
    "large numbers": {"where": "large > 9007199254740992 and large != 18446744073709551614"},
    "a large number": {"where": "large = 18446744073709551615"},
    "decimals": {"where": "d >= 0.8 and d < 2.3e1"},
    "texts": {"where": "title != 'x' and q < 'wz'"},
    "truth": {"where": "ok = true", "negatives": "no"},
    "no truth": {"where": "ok != true"},
    "no value": {"where": "none = 1"},
}


def both(table: pa.Table, options: Mapping[str, str]) -> tuple[Any, Any]:
    """What comes of a table by columns (None if it is left to the other way), and by rows."""
    given = {**USUAL, **options}
    if "lang" in options:
        del given["lang_column"]
    return by_columns_and_by_rows(mapping_of(given), table.combine_chunks().to_batches()[0], 5)


@pytest.mark.parametrize("options", MAPPINGS.values(), ids=MAPPINGS)
def test_pairs_are_those_of_the_rows(options: dict[str, str]) -> None:
    by_columns, by_rows = both(TABLE, options)
    assert by_columns == by_rows
    assert by_columns[0] or "none" in options["where"]
    for start in (1, 3):
        by_columns, by_rows = both(TABLE.slice(start), options)
        assert by_columns == by_rows


BAD: dict[str, tuple[str, list[Any], dict[str, str]]] = {
    "null": ("q", ["a", None, "c", "d"], {}),
    "blank": ("q", ["a", "\u3000", "c", "d"], {}),
    "number": ("q", [1, 2, 3, 4], {}),
    "no language": ("l", ["en", "xx", "en", "de"], {}),
    "null language": ("l", ["en", None, "en", "de"], {}),
    "negative": ("no", [["a"], [""], None, []], {"negatives": "no"}),
    "null negative": ("no", [["a"], [None], None, []], {"negatives": "no"}),
    "empty template": ("text", ["a", "", "c", "d"], {"passage": "{text}: {none}"}),
    "truth in a template": ("title", [True, False, None, True], {"passage": "{title} {text}"}),
    "uid": ("id", [1.5, 2.0, 3.0, 4.0], {"uid_column": "id"}),
    "null uid": ("id", [1, None, 3, 4], {"uid_column": "id"}),
    "text for a number": ("s", ["1", "high", "", "2"], {"where": "s > 0.5"}),
    "number beyond decimals": ("s", [1, 2, 3, 4], {"where": "s < 1e400"}),
    "number for a text": ("s", [1, 2, 3, 4], {"where": "s = 'a'"}),
}  # fmt: skip


@pytest.mark.parametrize(("column", "values", "options"), BAD.values(), ids=BAD)
def test_what_may_be_wrong_is_left_to_the_rows(
    column: str, values: list[Any], options: dict[str, str]
) -> None:
    table = TABLE.set_column(TABLE.column_names.index(column), column, pa.array(values))
    by_columns, by_rows = both(table, options)
    assert by_columns is None
    assert by_rows[-1] or column == "s"


def test_text_that_is_not_utf8_is_left_to_the_rows() -> None:
    raw = pa.array([b"a", b"\xff", b"c", b"d"])
    broken = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    by_columns, by_rows = both(TABLE.set_column(2, "q", broken), {})
    assert by_columns is None
    assert by_rows[-1] == ["a.parquet:6: cannot be read ('utf-8' codec can't decode byte 0xff in "
                           "position 0: invalid start byte)"]  # fmt: skip


def test_a_bad_row_costs_itself_alone(tmp_path: Path) -> None:
    rows = 5 * BATCH
    file = tmp_path / "a.parquet"
    texts = [f"t{n}" for n in range(rows)]
    answers: list[str | None] = [*texts]
    answers[2 * BATCH + 10] = None
    pq.write_table(pa.table({"q": texts, "text": answers}), file, row_group_size=700)
    options = {"query": "q", "passage": "text", "lang": "en"}
    pairs, reading = read("table", file, skip_bad=1, **options)
    number = 2 * BATCH + 11
    assert reading.bad == [f"{file}:{number}: column text: expected a non-empty text, found None"]
    assert [pair["uid"] for pair in pairs] == [
        f"a.parquet:{n}" for n in range(1, rows + 1) if n != number
    ]
    assert [reading.where(pair["place"]) for pair in pairs[::BATCH]] == [
        f"{tmp_path}/{pair['uid']}" for pair in pairs[::BATCH]
    ]
