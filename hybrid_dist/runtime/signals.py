"""The signals that stop a run: SIGTERM, SIGINT, SIGUSR2."""

import os
import signal
import sys
import time
from collections.abc import Iterable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
SECONDS_OF_ONE_KEYSTROKE = 1.0


class Interruption:
    """Remembers the first signal; the handler does nothing else.

    A launcher may forward a signal that the process has received already, so the same signal twice
    within a second counts once.
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
