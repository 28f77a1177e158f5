"""How the program refuses: one message that says what was given, where, and what to do."""

import difflib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from reprlib import Repr
from typing import Any

from hybrid_dist.runtime.text import printable


class UserError(Exception):
    """A mistake the user can mend. Shown as its message alone, without a traceback."""


class LaunchError(UserError):
    """The processes that were started are not the ones that were asked for."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a choice is close to the word, else nothing."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 2, 4, 4, 4
_SHORT.maxstring = _SHORT.maxother = 80


def short(value: object) -> str:
    """A value as messages show it: never more than a few lines, however large it is."""
    return _SHORT.repr(value)


def problem_of(error: Any) -> str:
    """One of the errors that pydantic found in a value: its key, what is wrong, what was given."""
    path = ".".join(short(part) if not isinstance(part, str) else part for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    kind = error["type"]
    if kind == "missing":
        return f"{path}: is missing"
    if kind == "unexpected_keyword_argument":
        return f"{path}: unknown key"
    return f"{path}: {message[0].lower()}{message[1:]}, given {short(error['input'])}"


SECONDS_FOR_FIRST_RANK = 10


@contextmanager
def reported(program: str) -> Iterator[None]:
    """Turn a UserError into a message on stderr and exit code 2.

    Most mistakes are found by every rank: the first one speaks, and its end takes the others down.
    A rank that outlives it found something of its own, and says so.
    """
    try:
        yield
    except UserError as error:
        rank = int(os.environ.get("RANK", "0"))
        if rank:
            time.sleep(SECONDS_FOR_FIRST_RANK)
        who = f"{program} (rank {rank})" if rank else program
        message = printable(error, lines=True)  # it may quote ids and names of files
        print(f"{who}: error: {message}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
