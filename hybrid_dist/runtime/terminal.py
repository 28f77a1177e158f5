"""Text of files, shown on a terminal: control characters are spelled out and cannot act on it."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_ACTS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls: ESC and its 8-bit twin CSI, BEL, carriage return
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what reorders bidirectional text
    "\u2028\u2029\ud800-\udfff"  # line ends, and halves of letters, which no terminal can show
)
_CONTROL = re.compile(f"[{_ACTS}]")
_CONTROL_OR_END = re.compile(f"[{_ACTS}\t\n]")


def printable(text: str) -> str:
    """One line of text, with control characters as `\\x1b` or `\\u202e`."""
    return _CONTROL_OR_END.sub(_spelled_out, text)


def printable_lines(text: str) -> str:
    """The same for a message of several lines: tabs and line ends stay."""
    return _CONTROL.sub(_spelled_out, text)


def printable_json(text: str) -> str:
    """JSON that a terminal may show: the same values, with control characters as `\\u009b`."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cell(text: str) -> "Text":
    """The same for a cell of a rich table, in which `[b]` and `:smile:` are no markup."""
    from rich.text import Text

    return Text(printable(text))


def _spelled_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
