"""Conditions on a row, such as `score > 0.8 and lang = "de"`: parsed here, never evaluated."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from hybrid_dist.data.reading import short
from hybrid_dist.data.sources.lines import BadRecord, Record
from hybrid_dist.data.tables.column_texts import Column
from hybrid_dist.errors import UserError

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
CONDITION = re.compile(
    r"\s*(?:\{(?P<quoted>[^{}]+)\}|(?P<bare>[^\s<>=!\"'{}]+))"
    r"\s*(?P<operator><=|>=|==|!=|=|<|>)\s*"
    rf"(?:(?P<number>{NUMBER})|(?P<word>true|false)|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)')"
    r"\s*(?P<rest>$|and\b)",
    re.ASCII,
)


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with a constant."""

    column: Column
    operator: str
    constant: str | Decimal | bool

    def holds(self, record: Record) -> bool:
        """Whether a row meets it; a column without a value meets none."""
        value = self.column.value(record)
        is_missing = value is None or (isinstance(value, float) and math.isnan(value))
        if is_missing or (value == "" and not isinstance(self.constant, str)):
            return False
        if isinstance(self.constant, bool):
            return bool(OPERATORS[self.operator](self._truth(value), self.constant))
        if isinstance(self.constant, Decimal):
            number = self._number(value)
            constant = float(self.constant) if isinstance(number, float) else self.constant
            return bool(OPERATORS[self.operator](number, constant))
        if not isinstance(value, str):
            raise self._unexpected("a text", value)
        return bool(OPERATORS[self.operator](value, self.constant))

    def _number(self, value: Any) -> float | int | Decimal:
        number = _decimal(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
            raise self._unexpected("a number", value)
        return number

    def _truth(self, value: Any) -> bool:
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise self._unexpected("true or false", value)
        return value

    def _unexpected(self, expected: str, value: Any) -> BadRecord:
        return BadRecord(f"column {self.column.name}: expected {expected}, found {short(value)}")


def parse_conditions(written: str) -> tuple[Condition, ...]:
    """The conditions of `COLUMN OPERATOR CONSTANT`, joined with `and`."""
    conditions: list[Condition] = []
    end = 0
    while True:
        found = CONDITION.match(written, end)
        if found is None:
            raise UserError(
                f"option where={written}: cannot read {written[end:].strip()!r}; expected COLUMN, "
                f"one of {' '.join(OPERATORS)}, and a number, a text in quotes, true or false, "
                'as in: score > 0.8 and source != "web"'
            )
        conditions.append(_condition(found, written))
        end = found.end()
        if not found["rest"]:
            return tuple(conditions)


def _condition(found: re.Match[str], written: str) -> Condition:
    column = Column((found["quoted"] or found["bare"]).strip())
    if found["number"] is not None:
        number = _decimal(found["number"])
        if number is None:
            raise UserError(f"option where={written}: {found['number']} is out of range")
        return Condition(column, found["operator"], number)
    if found["word"] is None:
        text = found["double"] if found["double"] is not None else found["single"]
        return Condition(column, found["operator"], text)
    if found["operator"] not in ("=", "==", "!="):
        raise UserError(f"option where={written}: true and false are compared with = or != only")
    return Condition(column, found["operator"], found["word"] == "true")


def _decimal(written: str) -> Decimal | None:
    """The exact number that a text is; None if it is none."""
    if not re.fullmatch(rf"\s*{NUMBER}\s*", written, re.ASCII):
        return None
    try:
        return Decimal(written)
    except InvalidOperation:  # of more than 18 digits in the exponent
        return None
