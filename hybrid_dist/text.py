"""Text from users and files made safe to show: in a terminal, Markdown, CSV, LaTeX and JSON."""

import json
import math
import re
from typing import Any

from rich.text import Text

_UNSAFE = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
"""Control characters, line separators, overrides of the writing direction, halves of surrogates."""
_NOT_PRINTABLE = re.compile(f"[{_UNSAFE}]")
_NOT_PRINTABLE_BUT_LINES = re.compile(f"(?![\n\t])[{_UNSAFE}]")
_NOT_IN_JSON = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_FORMULA = re.compile(r"(?:^|(?<=;))(?=[=+\-@])")
"""Where a spreadsheet would begin one; some take `;` for the end of a cell, too."""
_SECRET = re.compile(r"(?<=://)[^\s/@]+(?=@)|\bhf_[A-Za-z0-9]{20,}")
"""User and password in a URL, and a token of the Hugging Face hub."""
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_MARKDOWN_START = re.compile(r"^([#+\-=>:]|\d+(?=[.)]))")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "▲": r"$\bigtriangleup$",
    "▼": r"$\bigtriangledown$",
    "○": r"$\circ$",
    **{letter: f"{{{letter}}}" for letter in "[]*"},  # arguments, where they follow a line's end
}


def printable(text: object, lines: bool = False) -> str:
    r"""Text that a terminal shows and does not obey: control characters become `\x1b` and such.

    `lines`: keep line ends and tabs.
    """
    pattern = _NOT_PRINTABLE_BUT_LINES if lines else _NOT_PRINTABLE
    return pattern.sub(lambda found: _escaped(found[0]), str(text))


def _escaped(letter: str) -> str:
    code = ord(letter)
    return _SHORT.get(letter) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def cell(text: object, style: str = "") -> Text:
    """Text for a table of rich, which would read a plain string as markup."""
    return Text(printable(text), style)


def markdown(text: object, starts_line: bool = False) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no table cells of its own."""
    plain = printable(text)
    plain = re.sub(r"&(?=#?\w+;)", "&amp;", plain)
    plain = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", plain)
    plain = _MARKDOWN.sub(r"\\\g<0>", plain)
    if not starts_line:
        return plain
    return _MARKDOWN_START.sub(lambda m: m[0] + "\\" if m[0].isdigit() else "\\" + m[0], plain)


def csv_text(text: object) -> str:
    """A text cell that no spreadsheet takes for a formula."""
    return _FORMULA.sub("'", printable(text))


def without_secrets(text: str) -> str:
    """A message that may quote what the user gave, such as a URL with a password."""
    return _SECRET.sub("***", text)


def latex(text: object) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(letter, letter) for letter in printable(text))


def json_text(thing: Any, indent: int | None = None, compact: bool = False) -> str:
    """JSON that strict readers take: NaN and infinities are null. Safe to print, too."""
    between = (",", ":") if compact else None
    text = json.dumps(
        _finite(thing), ensure_ascii=False, allow_nan=False, indent=indent, separators=between
    )
    return _NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {key: _finite(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [_finite(value) for value in thing]
    return None if isinstance(thing, float) and not math.isfinite(thing) else thing
