"""How the program refuses: one message that says what was given, where, and what to do."""

import difflib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake the user can mend. Shown as its message alone, without a traceback."""


class LaunchError(UserError):
    """The processes that were started are not the ones that were asked for."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a choice is close to the word, else nothing."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


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
        print(f"{who}: error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
