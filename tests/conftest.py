"""Fixtures for all tests: small toy data, made once."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from pytest_timeout import timeout_sigalrm

from hybrid_dist.demo.toy import ToyOptions, generate
from tests.support.patience import Patience

BETWEEN_LOOKS = 10.0
"""Seconds."""

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests reach for no network
# several processes with several threads each would spend their time on waiting for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "HYBRID_DIST_CACHE" not in os.environ:
    os.environ["HYBRID_DIST_CACHE"] = tempfile.mkdtemp(prefix="hybrid_dist-tests-")
    atexit.register(shutil.rmtree, os.environ["HYBRID_DIST_CACHE"], ignore_errors=True)


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """The limit of a test leaves out the time for which a busy machine let it wait."""
    patience = Patience(settings.timeout)

    def look(*_: object) -> None:
        if patience.is_over():
            timeout_sigalrm(item, settings)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, BETWEEN_LOOKS, BETWEEN_LOOKS)
    return True


def pytest_timeout_cancel_timer() -> bool:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return True


@pytest.fixture(autouse=True)
def _no_accelerator() -> None:
    """As in a new process: Accelerate rejects other settings than those of an earlier test."""
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state()


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy folder: train, dev and test pairs in four languages, and model/."""
    out = tmp_path_factory.mktemp("data") / "toy"
    options = ToyOptions(languages=4, train_uids=300, dev_uids=40, test_uids=40, hidden=32, heads=2)
    generate(out, options)
    return out
