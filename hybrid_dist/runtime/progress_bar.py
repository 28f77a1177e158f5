"""Progress of long work: a bar on a terminal, elsewhere a plain line now and then.

What takes long opens a `part` and advances it. It is shown inside `shown`, which commands open;
without it, as in the Python API, nothing is printed. Parts are also where such work can be left.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hybrid_dist.text import printable

SECONDS_BETWEEN_LINES = 30.0
REDRAWN_PER_SECOND = 2
Advance = Callable[[int], None]
Say = Callable[[str], None]


class _Display:
    """Shows one part at a time."""

    def __init__(self, bar: Progress | None, say: Say) -> None:
        self._bar, self._say = bar, say
        self._current: tuple[str, Advance] | None = None
        self._open = ExitStack()

    def close(self) -> None:
        """End the part that an error has left open: its generator may live on in a traceback."""
        self._open.close()

    @contextmanager
    def part(self, what: str, total: int | None) -> Iterator[Advance]:
        if self._current is not None:  # what another part consists of
            name, advance = self._current
            yield advance if name == what else _nothing
            return
        with self._open as opened:
            bar = self._bar or opened.enter_context(_new_bar())
            task = bar.add_task(printable(what), total=total, figures="")
            opened.callback(bar.remove_task, task)
            opened.callback(self._end)
            lines = _Lines(what, total, self._say, bar.console.is_terminal)

            def advance(count: int) -> None:
                bar.advance(task, count)
                lines.advance(count)

            self._current = what, advance
            yield advance

    def _end(self) -> None:
        self._current = None


class _Lines:
    """A line every SECONDS_BETWEEN_LINES, where there is no bar."""

    def __init__(self, what: str, total: int | None, say: Say, has_bar: bool) -> None:
        self._what, self._total, self._say, self._has_bar = what, total, say, has_bar
        self._done, self._began = 0, time.monotonic()
        self._last = self._began

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if self._has_bar or now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        line = f"{self._what}: {self._done:,}"
        if self._total is not None:
            left = (now - self._began) / max(1, self._done) * (self._total - self._done)
            line += f" of {self._total:,}, about {timedelta(seconds=round(left))} left"
        self._say(line)


_done = 0


def parts_done() -> int:
    """How much of all parts this process has done since it started, shown or not."""
    return _done


_display: ContextVar[_Display | None] = ContextVar("display", default=None)
_interrupt: ContextVar[Callable[[], None] | None] = ContextVar("interrupt", default=None)


@contextmanager
def shown(
    speaks: bool = True, bar: Progress | None = None, say: Say | None = None
) -> Iterator[None]:
    """Show the parts of what runs inside, if this process `speaks`.

    `bar`: where they are shown on a terminal; by default one of their own. `say`: prints lines.
    """
    display = _Display(bar, say or _print) if speaks else None
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
        if display is not None:
            display.close()


@contextmanager
def part(what: str, total: int | None) -> Iterator[Advance]:
    """A part of the work, of `total` texts or queries if that is known; call what it yields with
    the number that is done."""
    display, interrupt = _display.get(), _interrupt.get()
    with nullcontext(_nothing) if not display or total == 0 else display.part(what, total) as show:

        def advance(count: int) -> None:
            global _done
            _done += count
            show(count)
            if interrupt is not None:
                interrupt()

        yield advance


@contextmanager
def part_in_steps(what: str, total: int, steps: int) -> Iterator[Callable[[], None]]:
    """A part whose texts are all worked on in each of equal steps; call what it yields after each
    step."""
    done = 0
    with part(what, total) as advance:

        def step() -> None:
            nonlocal done
            done += 1
            advance(done * total // steps - (done - 1) * total // steps)

        yield step


@contextmanager
def interrupted_by(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` whenever a part advances inside; what it raises leaves the work."""
    token = _interrupt.set(check)
    try:
        yield
    finally:
        _interrupt.reset(token)


def _new_bar() -> Progress:
    console = Console(file=sys.stderr)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        refresh_per_second=REDRAWN_PER_SECOND,
        transient=True,
    )


def _nothing(count: int) -> None:
    """Show no progress."""


def _print(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)
