"""Progress of long parts: bars on a terminal, lines elsewhere."""

import io
import re
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from hybrid_dist.commands import prepare
from hybrid_dist.runtime import progress_bar
from hybrid_dist.tracking.terminal import Terminal
from tests.support.launch import wait_for
from tests.support.vector_files import write_pairs


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for every advance."""
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)


@pytest.mark.usefixtures("at_once")
def test_lines_have_numbers_and_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar.shown():
        with progress_bar.part("embedding queries", 8) as advance:
            advance(2)
            advance(6)
        with progress_bar.part("reading pairs", None) as advance:
            advance(4096)
        with progress_bar.part("nothing", 0) as advance:
            advance(0)
    assert capsys.readouterr().err.splitlines() == [
        "embedding queries: 2 of 8, about 0:00:00 left",
        "embedding queries: 8 of 8, about 0:00:00 left",
        "reading pairs: 4,096",
    ]


@pytest.mark.usefixtures("at_once")
def test_nothing_is_shown_by_other_ranks_and_in_the_python_api(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar.part("embedding queries", 8) as advance:
        advance(8)
    with progress_bar.shown(speaks=False), progress_bar.part("embedding queries", 8) as advance:
        advance(8)
    assert capsys.readouterr().err == ""


def test_short_parts_have_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar.shown(), progress_bar.part("embedding queries", 8) as advance:
        advance(8)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("at_once")
def test_a_part_inside_another_counts_for_it_if_it_is_the_same_work() -> None:
    said: list[str] = []
    with progress_bar.shown(say=said.append), progress_bar.part("embedding queries", 8):
        for block in (3, 5):
            with progress_bar.part("embedding queries", block) as advance:
                advance(block)
            with progress_bar.part("searching", block) as advance:
                advance(block)
    assert [line.partition(",")[0] for line in said] == [
        "embedding queries: 3 of 8",
        "embedding queries: 8 of 8",
    ]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress_bar, "REDRAWN_PER_SECOND", 1000)
    return io.StringIO()


def plain(shown: io.StringIO) -> str:
    return re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())


def test_a_terminal_has_a_bar_that_errors_remove(terminal: io.StringIO) -> None:
    with redirect_stderr(terminal):
        part = progress_bar.part("embedding [/b]", 8)
        with pytest.raises(ZeroDivisionError), progress_bar.shown(), part as advance:
            advance(5)
            wait_for(lambda: "5/8" in plain(terminal))
            raise ZeroDivisionError
        with progress_bar.shown(), progress_bar.part("searching", 3) as advance:
            advance(3)
            wait_for(lambda: "3/3" in plain(terminal))
    assert re.search(r"embedding \[/b\] [━╺╸ ]+ 5/8", plain(terminal))
    assert re.search(r"searching [━╺╸ ]+ 3/3", plain(terminal))
    assert terminal.getvalue().count("\x1b[?25h") == 2, "the cursor is there again"


def test_a_run_shows_parts_below_its_own_line(terminal: io.StringIO) -> None:
    with redirect_stderr(terminal), Terminal("run", 100, True) as line:
        with line.parts(), progress_bar.part("searching", 3) as advance:
            advance(2)
            line._bar.refresh()
        line.say("done")
    assert re.search(r"run [━╺╸ ]+ 0/100", plain(terminal))
    assert re.search(r"searching [━╺╸ ]+ 2/3", plain(terminal))
    assert "run: done" in plain(terminal)


@pytest.mark.usefixtures("at_once")
def test_a_preparation_shows_what_it_reads_and_tokenizes(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_pairs(tmp_path, 12).removeprefix("pairs:")
    words = ["pairs", file, "--out", str(tmp_path / "store"), "--tokenize", str(toy / "model")]
    prepare.main(words)
    shown = [line.partition(", about")[0] for line in capsys.readouterr().err.splitlines()]
    assert shown == [
        "reading pairs: 24",
        "tokenizing query texts: 24 of 24",
        "tokenizing passage texts: 24 of 24",
    ]
