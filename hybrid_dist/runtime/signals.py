"""What asks a run to stop from outside: SIGTERM, SIGINT, SIGUSR2."""

import os
import signal
import sys
import time
from collections.abc import Iterable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
SECONDS_OF_ONE_KEYSTROKE = 1.0


class Interruption:
    """Remembers the signal that came first; the handler does nothing but that.

    A launcher passes a signal on that may have reached the process already, so the same signal
    twice in a moment is one.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._at = 0.0

    def listen(self, signals: Iterable[signal.Signals] = SIGNALS) -> None:
        for number in signals:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.signal:
            self.signal, self._at = number, now
        elif number == signal.SIGINT and now - self._at > SECONDS_OF_ONE_KEYSTROKE:
            print("stopped at once; the last checkpoint stands", file=sys.stderr, flush=True)
            os._exit(128 + number)
