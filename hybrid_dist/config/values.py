"""The types of single values in a config: what they accept, and their bounds."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _text(value: str) -> str:
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("holds a NUL or a character that UTF-8 cannot encode")
    return value


def _chunk_size(value: Any) -> Any:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    is_count = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    if not is_count and number != "auto":
        raise ValueError("expected a number of pairs (0: all of them), or auto")
    if is_count and number > MOST:
        raise ValueError(f"input should be less than or equal to {MOST}")
    return number


MOST = 10**9
"""The largest count of steps, pairs or tokens; sums of two still fit 32 bits."""
NUMBER = BeforeValidator(_number)
Text = Annotated[str, AfterValidator(_text)]
Switch = Annotated[bool, BeforeValidator(_boolean)]
Count = Annotated[int, NUMBER, Field(ge=0, le=MOST)]
Positive = Annotated[int, NUMBER, Field(ge=1, le=MOST)]
Length = Annotated[int, NUMBER, Field(ge=2, le=MOST)]
"""Length of a text in tokens; the special tokens, nearly always two, have to fit too."""
Weight = Annotated[float, NUMBER, Field(ge=0, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, NUMBER, Field(ge=0, le=1e6, allow_inf_nan=False)]
Seed = Annotated[int, NUMBER, Field(ge=0, lt=2**32)]
Temperature = Annotated[float, NUMBER, Field(ge=1e-4, le=100, allow_inf_nan=False)]
PositiveReal = Annotated[float, NUMBER, Field(gt=0, le=1e6, allow_inf_nan=False)]
Real = Annotated[float, NUMBER, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Rate = Annotated[float, NUMBER, Field(ge=0, lt=1)]
ChunkSize = Annotated[
    int | Literal["auto"],
    PlainValidator(_chunk_size, json_schema_input_type=Count | Literal["auto"]),
]
