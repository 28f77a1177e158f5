"""How the program refuses: one message that says what was given, where, and what to do."""

import difflib
import errno
import io
import math
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import Repr
from types import FrameType
from typing import Any, NoReturn

from hybrid_dist.text import printable, without_secrets


class UserError(Exception):
    """A mistake the user can mend. Shown as its message alone, without a traceback."""

    ending = "refused"
    """How ended.json calls the end of a run by this error (runtime/ended.py)."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class LaunchError(UserError):
    """The processes that were started are not those that the launcher file names."""


class NotFiniteError(UserError):
    """Too many updates in a row had a gradient that was not finite."""

    ending = "not finite"


class DeviceMemoryError(UserError):
    """A step does not fit in the memory of its device."""

    ending = "out of memory"


class DiskFullError(UserError):
    """There is no room, or no quota, for what a run writes."""

    ending = "disk full"


def nearest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a choice is close to the word, else nothing."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest_folder(path: str) -> str:
    """The same for the path of a folder that does not exist, among the folders beside it."""
    place = Path(path)
    try:
        beside = [entry.name for entry in place.parent.iterdir() if entry.is_dir()]
    except (OSError, ValueError):  # no such folder, or the path contains a NUL
        return ""
    close = difflib.get_close_matches(place.name, beside, n=1, cutoff=0.6)
    return f"; did you mean '{place.parent / close[0]}'?" if close else ""


def short_list(names: Sequence[str]) -> str:
    """The first names, and how many there are."""
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"


_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 2, 4, 4, 4
_SHORT.maxstring = _SHORT.maxother = 80


def short(value: object) -> str:
    """A value as messages show it: never more than a few lines, however large it is."""
    return _SHORT.repr(value)


def validation_problem(error: Any) -> str:
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
SECONDS_OF_ONE_SIGNAL = 1.0
"""Launchers pass on a signal that may have reached the process already."""
TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_FILE_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENAMETOOLONG", "EIO"),
        *("ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY", "ELOOP", "EBUSY"),
        *("EMFILE", "ENFILE", "ESTALE", "ENODEV", "ENXIO", "ETXTBSY", "EXDEV", "ENOLCK"),
    )
)
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
_IN_RUST = re.compile(r"\(os error (\d+)\)")
_IN_ARROW = re.compile(r"Failed to open local file '(.*)'\.")


def file_error(error: BaseException) -> int | None:
    """The system's number of an error about a file; None for errors of other kinds.

    NumPy reports a short write without a number, and tokenizers and safetensors raise types of
    their own with the number in the text.
    """
    if isinstance(error, OSError):
        number = error.errno
        if number is None and _SHORT_WRITE.fullmatch(str(error)):
            return errno.ENOSPC
    else:
        found = _IN_RUST.search(str(error))
        number = int(found[1]) if found else None
    return number if number in _FILE_ERRORS else None


def file_of(error: BaseException) -> str | None:
    """The file that such an error names; writes into an open file name none."""
    name = getattr(error, "filename", None)
    if name is not None:
        return os.fsdecode(name) if isinstance(name, str | bytes) else str(name)
    found = _IN_ARROW.match(str(getattr(error, "strerror", "") or ""))
    return found[1] if found else None


@contextmanager
def report_errors(
    program: str, signals: Sequence[signal.Signals] = TERMINATION_SIGNALS
) -> Iterator[None]:
    """Turn what the user can mend into a message on stderr and exit code 2.

    These are a UserError, and an OSError about a file. Most mistakes are noticed by every rank: the
    first rank reports it, and its exit ends the others. A rank that outlives it reports its own.

    `signals`: those that end the program as an exception does, so that half-made files are removed;
    the exit code is the shell's, 128 + the signal's number.
    """
    try:
        with _ended_by(signals):
            try:
                yield
            except SystemExit:
                sys.stdout.flush()
                raise
            sys.stdout.flush()
    except UserError as error:
        _refuse(program, str(error))
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print(f"{program}: interrupted", file=sys.stderr, flush=True)
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        if not _stdout_fails():
            raise
        raise SystemExit(128 + signal.SIGPIPE) from None  # a reader such as head has seen enough
    except Exception as error:
        number = file_error(error)
        if number is None:
            raise
        place = file_of(error) or ("standard output" if _stdout_fails() else "an open file")
        _refuse(program, f"{place}: {os.strerror(number)}")


def _refuse(program: str, problem: str) -> NoReturn:
    rank = int(os.environ.get("RANK", "0"))
    if rank:
        time.sleep(SECONDS_FOR_FIRST_RANK)
    who = f"{program} (rank {rank})" if rank else program
    message = printable(problem, lines=True)  # it may quote ids and names of files
    print(f"{who}: error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2) from None


def _stdout_fails() -> bool:
    """Whether what is printed does not get out; then it goes nowhere, so that Python can end."""
    try:
        sys.stdout.flush()
        handle = sys.stdout.fileno()
        poll = select.poll()
        poll.register(handle, 0)
        if not any(event & select.POLLERR for _, event in poll.poll(0)):
            os.write(handle, b"")  # what is not buffered is lost by now
            return False
    except io.UnsupportedOperation:  # it is no file at all
        return False
    except OSError:
        pass
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


@contextmanager
def _ended_by(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Let these signals raise SystemExit where they would kill; nohup's SIGHUP stays ignored."""
    last = -math.inf

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= SECONDS_OF_ONE_SIGNAL:  # else it would interrupt the cleaning up
            raise SystemExit(128 + number)

    here = threading.current_thread() is threading.main_thread()
    taken = [one for one in signals if here and signal.getsignal(one) is signal.SIG_DFL]
    for one in taken:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in taken:
            # once ended, keep the handler: a repeated signal must not kill the rest of the exit
            if signal.getsignal(one) is end and last == -math.inf:
                signal.signal(one, signal.SIG_DFL)
