"""SIGTERM and SIGHUP end a command at once, and incomplete output is removed."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hybrid_dist import cli
from hybrid_dist.commands import prepare
from hybrid_dist.evaluation import vector_cache
from tests.support.launch import running, wait_for
from tests.support.store_lines import lines

COMMAND = [sys.executable, "-m", "hybrid_dist.cli"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough of them that a command is ended in its middle."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text("\n".join(lines(60_000)) + "\n", "utf-8")
    return file


def ended(words: Sequence[object], folder: Path, number: signal.Signals, after: float = 0.0) -> str:
    """Start, wait for something half made, send the signal: all that the command has printed."""
    temporary = folder / "temporary"
    temporary.mkdir()
    with running([*COMMAND, *map(str, words)], TMPDIR=str(temporary)) as started:
        wait_for(lambda: [*folder.rglob("*.part"), *temporary.glob("hybrid_dist-*")])
        time.sleep(after)
        started.process.send_signal(number)
        done = started.end()
    assert done.code == 128 + number, done.output
    assert "Traceback" not in done.output
    if number == signal.SIGINT:
        assert done.output == f"hybrid-dist {words[0]}: interrupted\n"
    assert [path for path in temporary.iterdir() if "hybrid_dist" in path.name] == []
    return done.output


@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGTERM, 0.0),
        (signal.SIGHUP, 0.0),
        (signal.SIGINT, 0.0),
        (signal.SIGTERM, 0.3),
        pytest.param(signal.SIGHUP, 0.3, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, 0.3, marks=pytest.mark.long),
    ],
)
def test_a_preparation_that_is_ended_leaves_nothing(
    number: signal.Signals, after: float, pairs: Path, tmp_path: Path
) -> None:
    ended(["prepare", "pairs", pairs, "--out", tmp_path / "new/store"], tmp_path, number, after)
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_the_store_before_stays(toy: Path, pairs: Path, tmp_path: Path) -> None:
    store = ["--out", str(tmp_path / "store")]
    prepare.main(["pairs", str(toy / "train.jsonl"), *store])
    ended(["prepare", "pairs", pairs, *store], tmp_path, signal.SIGTERM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "temporary"]
    prepare.main(["--verify", str(tmp_path / "store")])


def test_other_commands_that_are_ended_leave_nothing(
    toy: Path, pairs: Path, tmp_path: Path
) -> None:
    overlap = ["overlap", str(pairs), "--task", f"pairs:{toy}/test.jsonl", "--drop"]
    for number, words in enumerate(
        (
            ["toy", "--train_uids", "20000", "--out", "{out}/toy"],
            [*overlap, "{out}/store"],
            [*overlap, "{out}/clean.jsonl.gz"],
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        words = [word.format(out=folder / "new") for word in words]
        ended(words, folder, (signal.SIGTERM, signal.SIGHUP)[number % 2])
        assert [path.name for path in folder.iterdir()] == ["temporary"]


def test_an_evaluation_that_is_ended_keeps_whole_blocks_and_no_draft(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The signal comes again and again, as launchers and shells send it."""
    program = (
        "import sys, time; from hybrid_dist import cli\n"
        "from hybrid_dist.evaluation import vector_cache as cache\n"
        "cache.BLOCK = 8; write = cache._Part.write\n"
        "def slowly(*words): write(*words); print('block', flush=True); time.sleep(0.05)\n"
        "cache._Part.write = slowly; cli.main()"
    )
    from transformers import AutoConfig, AutoModel

    model = AutoModel.from_config(AutoConfig.from_pretrained(toy / "model"))
    model.save_pretrained(tmp_path / "model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / file).write_bytes((toy / "model" / file).read_bytes())
    words = ["evaluate", "--model", str(tmp_path / "model"), "--task", f"toy:{toy}"]
    words += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "results")]
    with running([sys.executable, "-c", program, *words]) as started:
        out = started.process.stdout
        assert out is not None
        while out.readline() != "block\n":
            assert started.process.poll() is None
        for _ in range(3):
            started.process.send_signal(signal.SIGTERM)
        done = started.end()
    assert done.code == 128 + signal.SIGTERM, done.output
    assert "Traceback" not in done.output
    assert [*tmp_path.rglob("*.part")] == []
    assert [*(tmp_path / "cache").rglob("*.blocks/*")] != []
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(vector_cache, "BLOCK", 8)
    monkeypatch.setattr(sys, "argv", ["hybrid-dist", *words])
    cli.main()
    again = "".join(capsys.readouterr())
    assert " of 160 queries" in again and "toy: 0 of 160 queries" not in again


def test_a_command_that_is_interrupted_while_libraries_load_says_so() -> None:
    program = "import sys; from hybrid_dist import cli; print('ready', flush=True); cli.main()"
    with running([sys.executable, "-c", program, "evaluate", "--help"]) as started:
        out = started.process.stdout
        assert out is not None and out.readline() == "ready\n"
        time.sleep(0.2)
        started.process.send_signal(signal.SIGINT)
        done = started.end()
    assert done.code == 128 + signal.SIGINT
    assert re.fullmatch("hybrid-dist( evaluate)?: interrupted\n", done.output)  # or just before


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["config", "--help"]])
def test_a_reader_that_has_seen_enough_ends_a_command_in_silence(words: list[str]) -> None:
    """As `| head -1` does."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([*COMMAND, *words], text=True, stdout=pipe, stderr=pipe)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() in (1, 128 + signal.SIGPIPE)


def test_a_repeated_signal_does_not_kill_what_is_ending() -> None:
    program = (
        "import atexit, time\n"
        "from hybrid_dist.errors import report_errors\n"
        "atexit.register(time.sleep, 0.5)\n"
        "with report_errors('program'): print('ready', flush=True); time.sleep(60)"
    )
    with running([sys.executable, "-c", program]) as started:
        out = started.process.stdout
        assert out is not None and out.readline() == "ready\n"
        for _ in range(2):
            started.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert started.end().code == 128 + signal.SIGTERM


def test_a_hangup_that_is_ignored_stays_ignored(pairs: Path, tmp_path: Path) -> None:
    """As `nohup` starts a command."""
    words = [*COMMAND, "prepare", "pairs", str(pairs), "--out", str(tmp_path / "store")]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is ignored is so in the processes started
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    wait_for(lambda: [*tmp_path.glob("*.part")])
    process.send_signal(signal.SIGHUP)
    process.communicate()
    assert process.returncode == 0
    assert (tmp_path / "store/manifest.json").is_file()
