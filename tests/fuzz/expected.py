"""Known findings that are not fixed yet. The list may only shrink."""

import re

CONTROL = r"letters that steer a terminal"
NUMPY = r"(TokenError|EOFError|AttributeError|OverflowError|TypeError|BadZipFile|ValueError) in "

EXPECTED: tuple[tuple[str, str, str], ...] = ()
"""Class, pattern of what happened, and what it is."""


def why_expected(target: str, what: str) -> str | None:
    for name, pattern, why in EXPECTED:
        if name in ("*", target) and re.search(pattern, what):
            return why
    return None
