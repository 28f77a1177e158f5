"""`hybrid-dist train` before it trains."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from hybrid_dist.config import flags
from hybrid_dist.runtime.loading_line import CLEAR_LINE

PROGRAM = (
    "import sys; from hybrid_dist import cli\n"
    "try: cli.main()\n"
    "finally: print('torch' in sys.modules, 'transformers' in sys.modules)"
)


def test_what_is_wrong_with_a_config_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data: {train: [pairs.jsonl]}\noptim: {lrr: 1}\n")
    words = [sys.executable, "-c", PROGRAM, "train", "--config", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "optim.lrr: unknown key; did you mean 'optim.lr'?" in done.stderr
    assert done.stdout == "False False\n"


def test_a_terminal_shows_that_libraries_are_loading(tmp_path: Path) -> None:
    """The line comes first, and is gone when the command speaks."""
    terminal, theirs = pty.openpty()
    words = [sys.executable, "-m", "hybrid_dist", "train", "--data.train", str(tmp_path / "none")]
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # when the command has closed its side
        while part := os.read(terminal, 1 << 16):
            shown += part
    assert process.wait() == 2
    before, clear, after = shown.decode().rpartition(CLEAR_LINE)
    assert before.endswith("hybrid-dist train: loading ...") and clear
    assert "hybrid-dist train: error: " in after and "loading" not in after


def test_help_lists_the_config_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flags.load(["--help"], "hybrid-dist train")
    shown = capsys.readouterr().out
    assert "--config FILE  " in shown and "--optim.lr" in shown
