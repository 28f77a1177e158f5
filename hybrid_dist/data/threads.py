"""Work done ahead in threads, handed over in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prefetched(
    work: Callable[[Given], Made], items: Iterable[Given], workers: int = CORES
) -> Iterator[tuple[Given, Made]]:
    """Every item with what is made of it, in order; a few are made before they are asked for."""
    waiting: deque[tuple[Given, Future[Made]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > workers:
                    given, made = waiting.popleft()
                    yield given, made.result()
            while waiting:
                given, made = waiting.popleft()
                yield given, made.result()
        finally:
            pool.shutdown(cancel_futures=True)
