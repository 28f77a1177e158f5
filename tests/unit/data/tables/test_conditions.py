"""Conditions on rows: what they mean, and what is refused."""

import math
from decimal import Decimal

import pytest

from hybrid_dist.data.sources.lines import BadRecord
from hybrid_dist.data.tables.conditions import parse_conditions
from hybrid_dist.errors import UserError

ROW = {
    "score": 0.8,
    "count": 3,
    "lang": "de",
    "good": True,
    "my column": "x and y",
    "cell": "0.75",
    "none": None,
    "nan": math.nan,
    "blank": "",
    "answer": {"votes": 7},
    "large": 2**53 + 1,
    "large cell": str(2**63 - 1),
    "decimal": Decimal("0.80"),
}


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        ("score > 0.8", False),
        ("score >= 0.8", True),
        ("score>.5", True),
        ("score < 8e-1", False),
        ("score <= 0.8", True),
        ("count = 3", True),
        ("count == 3.0", True),
        ("count != -3", True),
        ("lang = 'de'", True),
        ('lang != "de"', False),
        ("lang < 'en'", True),
        ("good = true", True),
        ("good != true", False),
        ("{my column} = 'x and y'", True),
        ("cell > 0.5", True),
        ("answer.votes > 6", True),
        ("score > 0.5 and lang = 'de' and good = true", True),
        ("score > 0.5 and lang = 'en'", False),
        ("none != 'x'", False),
        ("none > 0", False),
        ("absent = 1", False),
        ("nan < 1", False),
        ("blank > 0", False),
        ("blank = ''", True),
        ("lang != ''", True),
        ("large = 9007199254740993", True),
        ("large = 9007199254740992", False),
        ("large > 9007199254740992.5", True),
        ("{large cell} = 9223372036854775807", True),
        ("{large cell} < 9223372036854775808", True),
        ("cell = .75e0", True),
        ("decimal = 0.8", True),
        ("decimal > 0.8", False),
        ("count < 1e999999999", True),
        ("score < 1e999999999", True),
    ],
)
def test_a_condition_holds_or_not(written: str, holds: bool) -> None:
    assert all(condition.holds(ROW) for condition in parse_conditions(written)) is holds


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("lang > 3", "column lang: expected a number, found 'de'"),
        ("good > 3", "column good: expected a number, found True"),
        ("score = 'a'", "column score: expected a text, found 0.8"),
        ("lang = true", "column lang: expected true or false, found 'de'"),
        ("lang.x = 1", "column lang.x: expected an object with 'x', found 'de'"),
    ],
)
def test_a_value_of_another_kind_is_named(written: str, message: str) -> None:
    (condition,) = parse_conditions(written)
    with pytest.raises(BadRecord) as refusal:
        condition.holds(ROW)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "written",
    [
        "", "score", "score >", "score > 1 or count > 2", "score > 1 and", "and score > 1",
        "score > 1 count > 2", "score ~ 1", "score > __import__('os')", "lang = 'de", "lang = de",
        "1 + 1 = 2", "score > 1; x", "score => 1", "score > 1_0", "score > 1and count > 2e",
    ],
)  # fmt: skip
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(UserError, match=r"option where=.*: cannot read .*; expected COLUMN"):
        parse_conditions(written)


def test_a_number_that_is_too_large_to_write_is_refused() -> None:
    with pytest.raises(UserError, match=r"where=count < 1e9{30}: 1e9{30} is out of range"):
        parse_conditions("count < 1e" + "9" * 30)


def test_truth_has_no_order() -> None:
    with pytest.raises(UserError, match="true and false are compared with = or != only"):
        parse_conditions("good > true")
