"""The command line: its output, and the files that `init` copies."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hybrid_dist
from hybrid_dist import cli

ROOT = Path(hybrid_dist.__file__).resolve().parents[1]
Ended = tuple[int, str, str]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs `hybrid-dist WORDS`: its exit code, standard output and standard error."""

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["hybrid-dist", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_usage_names_every_command(command: Callable[..., Ended], words: tuple[str, ...]) -> None:
    code, out, _ = command(*words)
    assert code == 0
    for name, (_, printed) in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(printed)}$", out, re.MULTILINE)


def test_the_version_is_the_packages(command: Callable[..., Ended]) -> None:
    assert command("--version") == (0, f"hybrid-dist {hybrid_dist.__version__}\n", "")


@pytest.mark.parametrize(("word", "near"), [("evalute", "evaluate"), ("Train", "train")])
def test_an_unknown_command_is_refused_with_the_nearest(
    command: Callable[..., Ended], word: str, near: str
) -> None:
    code, out, err = command(word)
    assert (code, out) == (2, "")
    assert f"unknown command '{word}'; did you mean '{near}'?" in err


def test_a_command_that_was_renamed_is_refused_with_its_new_name(
    command: Callable[..., Ended],
) -> None:
    code, out, err = command("tell", "run.folder")
    assert (code, out) == (2, "")
    assert "'tell' is now `hybrid-dist config get`" in err


def test_a_word_like_no_command_is_refused_with_all_of_them(command: Callable[..., Ended]) -> None:
    code, _, err = command("überhaupt nicht")
    assert code == 2
    assert "did you mean" not in err
    assert all(name in err for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_a_command_shows_an_example(
    command: Callable[..., Ended], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = command(name, "--help")
    printed = " ".join(out.split())
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert f"usage: hybrid-dist {name}" in printed
    assert re.search(rf"Examples?:? .*hybrid-dist {name} ", printed)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_an_unknown_option_is_refused(
    command: Callable[..., Ended], name: str, tmp_path: Path
) -> None:
    needed = {
        "init": (str(tmp_path),),
        "watch": (str(tmp_path),),
        "toy": ("--out", str(tmp_path)),
        "overlap": ("pairs.jsonl", "--task", "toy:toy"),
        "export": ("checkpoint", "--out", str(tmp_path)),
        "study": ("study.yaml",),
        "launch": ("cpu", str(ROOT / "configs/demo.yaml")),
        "submit": (str(ROOT / "configs/demo.yaml"),),
        "convert": ("store", "--to", "beir", "--out", str(tmp_path)),
        "push": ("run", "--to", "me/retriever"),
        "search": ("--model", "model", "--passages", "pairs.jsonl"),
        "mine": ("store", "--model", "model", "--out", str(tmp_path)),
        "bitext": ("bucc", "--model", "model", "--out", str(tmp_path)),
    }.get(name, ())
    code, out, err = command(name, *needed, "--no-such-option", "1")
    assert code == 2
    assert "no-such-option" in out + err
    assert "Traceback" not in out + err


def test_a_mistake_is_one_message_on_standard_error(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    code, out, err = command("train", "--config", str(tmp_path / "no such file.yaml"))
    assert (code, out) == (2, "")
    assert re.fullmatch(r"hybrid-dist train: error: .*no such file\.yaml: cannot be read.*\n", err)


def test_names_do_not_act_on_the_terminal(command: Callable[..., Ended], tmp_path: Path) -> None:
    odd = tmp_path / "a\x1b[31m\x9b2J\u202eb\udcff"
    code, out, err = command("prepare", "pairs", str(odd), "--out", str(tmp_path / "store"))
    assert (code, out) == (2, "")
    assert err.strip().startswith(
        f"hybrid-dist prepare: error: {tmp_path}/a\\x1b[31m\\x9b2J\\u202eb\\udcff: no such file"
    )
    code, out, _ = command("init", str(odd))
    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())


def shipped() -> set[str]:
    """The files that `init` is to lay out, by their place in the checkout."""
    parts = ((ROOT / part).rglob("*") for part in ("configs", "launchers", "slurm"))
    return {
        str(file.relative_to(ROOT))
        for files in parts
        for file in files
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".py"
    }


def test_a_message_has_no_codes_for_the_terminal(command: Callable[..., Ended]) -> None:
    code, _, error = command("watch", "\x1b[31mred\x9b1m")
    assert code == 2 and r"\x1b[31mred\x9b1m: is no run folder" in error
    assert not {"\x1b", "\x9b"} & set(error)


def test_init_lays_the_files_out(command: Callable[..., Ended], tmp_path: Path) -> None:
    folder = tmp_path / "my retriever"
    code, out, _ = command("init", str(folder))
    laid = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert code == 0
    assert laid == shipped()
    assert {"configs/demo.yaml", "launchers/ddp.yaml", "launchers/zero3.yaml"} <= laid
    *printed, following, _ = out.split("\n")
    assert sorted(printed) == sorted(str(folder / name) for name in laid)
    assert following.startswith(f"Next: cd {folder} && hybrid-dist toy")
    for name in laid:
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
        assert os.access(folder / name, os.X_OK) == os.access(ROOT / name, os.X_OK)


def test_init_does_not_change_existing_files(command: Callable[..., Ended], tmp_path: Path) -> None:
    command("init", str(tmp_path))
    changed, gone = tmp_path / "configs/demo.yaml", tmp_path / "launchers/ddp.yaml"
    changed.write_text("seed: 7\n")
    gone.unlink()
    code, out, _ = command("init", str(tmp_path))
    assert code == 0
    assert changed.read_text() == "seed: 7\n"
    assert gone.is_file()
    lines = out.split("\n")
    assert f"{changed}: kept, though it differs" in lines
    assert str(gone) in lines
    assert f"{tmp_path / 'launchers/cpu.yaml'}: already there" in lines


def test_init_into_a_file_is_refused(command: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = command("init", str(tmp_path / "file"))
    assert code == 2
    assert "is a file; name a folder" in err


def test_toy_makes_the_data(command: Callable[..., Ended], tmp_path: Path) -> None:
    out = tmp_path / "toy data"
    sizes = ("--languages", "2", "--train_uids", "20", "--dev_uids=4", "--test_uids=4")
    code, printed, _ = command("toy", "--out", str(out), *sizes, "--hidden", "8", "--heads", "2")
    assert code == 0
    assert "40 training pairs in 2 languages" in printed
    assert len((out / "train.jsonl").read_text("utf-8").splitlines()) == 40
