"""The thread that writes a checkpoint while training goes on."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from safetensors import SafetensorError

Action = Callable[[], Any]


class Attempt:
    """Writes of the first rank: after a failure the rest is skipped, and ranks stay in step."""

    def __init__(self, writes: bool) -> None:
        self._writes = writes
        self.problem: str | None = None

    def write(self, action: Action) -> None:
        if not self._writes or self.problem is not None:
            return
        try:
            action()
        except (OSError, SafetensorError) as error:
            self.problem = str(error)


class BackgroundWriter:
    """Runs the writes of one checkpoint at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._problem: str | None = None
        self._crash: BaseException | None = None

    def start(self, actions: Iterable[Action], clean_up: Action) -> None:
        """Run these in a thread, one after the other, and `clean_up` after a failure.

        `wait` has to come before the next ones.
        """
        # not a daemon: a program that ends by itself finishes the checkpoint
        self._thread = threading.Thread(
            target=self._run, args=(actions, clean_up), name="checkpoint"
        )
        self._thread.start()

    @property
    def has_failed(self) -> bool:
        """Whether a write has failed, which `wait` will report."""
        return self._crash is not None or self._problem is not None

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def wait(self) -> str | None:
        """Wait for all writes; what could not be written, if anything. Raises any other error."""
        self.join()
        (crash, self._crash), (problem, self._problem) = (self._crash, None), (self._problem, None)
        if crash is not None:
            raise crash
        return problem

    def _run(self, actions: Iterable[Action], clean_up: Action) -> None:
        attempt = Attempt(True)
        try:
            for action in actions:
                attempt.write(action)
            if attempt.problem is not None:
                clean_up()  # at once, which makes room for what training writes
            self._problem = attempt.problem
        except BaseException as error:
            self._crash = error
