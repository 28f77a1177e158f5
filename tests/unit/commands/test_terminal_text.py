"""Ids and texts of files cannot act on the terminal that shows them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_dist.commands import overlap, plan, prepare
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.text import cell, json_text, printable
from tests.support.published_files import json_lines

EVIL = {
    "escape": "\x1b[31mred",
    "window title": "\x1b]0;title\x07",
    "link": "\x1b]8;;http://example.org\x1b\\here\x1b]8;;\x1b\\",
    "bell": "a\x07b",
    "8-bit CSI": "a\x9b2Jb",
    "carriage return": "a\rb",
    "backspace": "a\x08b",
    "bidi override": "a\u202egpj.exe\u202c",
    "bidi isolate": "\u2067a\u2069",
    "line separator": "a\u2028b",
}
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
MARKUP = "[/b] [red]x[/red] :smile:"


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_control_characters_are_spelled_out(text: str) -> None:
    for shown in (printable(text), printable(text, lines=True), cell(text).plain):
        assert not ACTS.search(shown)
    shown = json_text({"id": text})
    assert not ACTS.search(shown)
    assert json.loads(shown) == {"id": text}


def test_other_text_is_as_it_is() -> None:
    for text in ("نمی‌خواهم", "क्‍ष", "é 漢字 👩‍🔬", MARKUP):
        assert printable(text) == printable(text, lines=True) == cell(text).plain == text
    assert printable("a\tb\nc") == "a\\tb\\nc"
    assert printable("a\tb\nc", lines=True) == "a\tb\nc"
    assert printable("\udcff") == "\\udcff"


def test_a_refusal_shows_them_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), report_errors("x"):
        raise UserError("first: \x1b[31mid\udcff\nthen")
    assert capsys.readouterr().err == "x: error: first: \\x1b[31mid\\udcff\nthen\n"


def pairs(folder: Path, text: str) -> Path:
    rows = (
        {"uid": f"{text}{n}", "lang": lang, "query": f"{text} {n}?", "passage": f"{text} {n}."}
        for n in range(3)
        for lang in ("en", "de")
    )
    return json_lines(folder / f"{MARKUP.replace('/', '|')}.jsonl", *rows)


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    output = capsys.readouterr()
    return output.out + output.err


@pytest.mark.parametrize(
    ("text", "more"),
    [
        *(pytest.param(text, [], id=name) for name, text in EVIL.items()),
        pytest.param("".join(EVIL.values()), ["--json"], id="json, all"),
    ],
)
def test_overlap_plan_and_prepare_show_nothing_that_acts(
    tmp_path: Path, text: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = pairs(tmp_path, text)
    with pytest.raises(SystemExit):
        overlap.main([str(file), "--task", f"pairs:{file}", *more])
    output = shown(capsys)
    assert not ACTS.search(output)
    assert (printable(text) in output) or more
    words = ["--data.train", str(file), "--batching.size", "2", "--steps", "3"]
    plan.main([*words, *more])
    output = shown(capsys)
    assert not ACTS.search(output)
    store = tmp_path / "store"
    bad = {"uid": f"{text}0", "lang": "en", "query": "other?", "passage": "other"}
    with file.open("a") as out:
        out.write(json.dumps(bad) + "\n")
    prepare.main(["pairs", str(file), "--out", str(store), "--skip-bad", "1"])
    assert not ACTS.search(output := shown(capsys))
    assert printable(f"{text}0") in output or repr(f"{text}0") in output
    prepare.main(["--describe", str(store), *more])
    assert not ACTS.search(shown(capsys))


def test_what_looks_like_markup_is_shown_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams of several sources are called after their files, which have brackets here."""
    monkeypatch.setenv("COLUMNS", "400")
    files = [pairs(tmp_path / name, "x") for name in "ab"]
    words = ["--data.train", *map(str, files), "--batching.size", "3", "--steps", "3"]
    plan.main(words)
    output = capsys.readouterr().out
    for file in files:
        assert str(file) in output


def test_a_name_that_is_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    """As a whole process: stderr of a UTF-8 terminal takes no half of a letter."""
    name = bytes(tmp_path / "a").decode() + "\udcff.jsonl"
    Path(name).write_text("{}\n")
    run = subprocess.run(
        [sys.executable, "-m", "hybrid_dist", "prepare", "pairs", name, "--out", "x"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 2
    assert b"a\\udcff.jsonl:1: expected a non-empty text" in run.stderr
    assert b"Traceback" not in run.stderr
