"""Ctrl-C while libraries are loading."""

import subprocess
import sys

import pytest

IMPORTS = """
import os, signal, time
from hybrid_dist.runtime.loading_line import loading
with loading("a program"):
    try:  # as a library that is being imported may
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)
    except BaseException:
        pass
print("went on")
"""
AFTERWARDS = """
import os, signal
from hybrid_dist.runtime.loading_line import loading
with loading("a program"):
    pass
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("an exception")
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [(IMPORTS, (130, "", "a program: interrupted\n")), (AFTERWARDS, (0, "an exception\n", ""))],
)
def test_ctrl_c_ends_imports_at_once_and_raises_afterwards(
    code: str, expected: tuple[int, str, str]
) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == expected
