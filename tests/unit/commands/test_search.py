"""`hybrid-dist search`: the best passages, for a terminal and for programs."""

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.commands import search
from hybrid_dist.model.embedder import TextEmbedder
from tests.support.launch import ROOT, warm_python
from tests.support.saved_models import saved

PAGE = ROOT / "docs" / "after-training.md"
TEXTS = {
    "de": ["bo du fo ka", "ti lo mo", "ka ka ka"],
    "ar": ["فاوست مسرحية من تأليف غوته."],
    "zh": ["《浮士德》是歌德创作的一部诗剧。" * 6],
    "en": ["lo \x1b[2J\u202efo\nti bo", "ra ti mo"],
}
RECIPE = re.MULTILINE | re.DOTALL
Search = Callable[..., str]


@pytest.fixture(scope="module")
def folder(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/hybrid with a model of random weights, and passages.jsonl."""
    here = tmp_path_factory.mktemp("search")
    saved(toy / "model", here / "runs/hybrid")
    rows = [
        {"id": f"{lang}-{number}", "lang": lang, "text": text}
        for lang, texts in TEXTS.items()
        for number, text in enumerate(texts)
    ]
    (here / "passages.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return here


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Search:
    monkeypatch.chdir(folder)

    def run(*words: str, piped: bytes = b"") -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        given = ["--model", "runs/hybrid", "--passages", "passages.jsonl", "--cache", "vectors"]
        search.main([*given, *words])
        return capsys.readouterr().out

    return run


def exact(folder: Path, query: str, languages: tuple[str, ...] = ()) -> list[tuple[str, float]]:
    """(id, score) of all passages, best first."""
    embedder = TextEmbedder.load(folder / "runs/hybrid", "cpu")
    rows = [json.loads(line) for line in (folder / "passages.jsonl").open(encoding="utf-8")]
    rows = [row for row in rows if not languages or row["lang"] in languages]
    scores = embedder.encode_passages([row["text"] for row in rows]) @ embedder.encode_queries(
        [query]
    )[0].astype(np.float64)
    order = np.argsort(-scores)
    return [(rows[i]["id"], scores[i]) for i in order]


@pytest.mark.parametrize("languages", [(), ("de",), ("deu", "ar", "de")])
def test_json_has_the_passages_in_order_of_their_scores(
    languages: tuple[str, ...], run: Search, folder: Path
) -> None:
    words = ["--in", *languages] if languages else []
    printed = run("--json", *words, "--k", "50", "--query", "bo du", "ti lo ra")
    for line, query in zip(printed.splitlines(), ("bo du", "ti lo ra"), strict=True):
        answer = json.loads(line)
        expected = exact(folder, query, tuple({"deu": "de"}.get(name, name) for name in languages))
        assert answer["query"] == query
        assert [hit["id"] for hit in answer["results"]] == [name for name, _ in expected]
        scores = [hit["score"] for hit in answer["results"]]
        np.testing.assert_allclose(scores, [score for _, score in expected], atol=1e-6)
        for rank, hit in enumerate(answer["results"], 1):
            lang, number = hit["id"].split("-")
            assert (hit["rank"], hit["lang"]) == (rank, lang)
            assert hit["text"] == TEXTS[lang][int(number)]


def test_a_terminal_gets_lines_that_do_not_act_on_it(run: Search) -> None:
    printed = run(piped=b" bo ka\n\n")
    assert printed.startswith("> bo ka\n  1. ")
    assert printed.count("> ") == 1, "an empty line is no query"
    assert "\x1b" not in printed and "\u202e" not in printed
    assert re.search(r"^ {5}lo \\x1b\[2J\\u202efo ti bo$", printed, re.MULTILINE)
    assert "\n     فاوست مسرحية من تأليف غوته.\n" in printed, "its first letter begins the line"
    chinese = [line for line in printed.splitlines() if "浮士德" in line]
    assert len(chinese) == 3 and all(len(line.strip()) <= 37 for line in chinese), "75 columns"
    assert re.search(r"^ +\d\. [01]\.\d{3}  zh  zh-0$", printed, re.MULTILINE)


def test_long_passages_are_cut_short(run: Search, folder: Path) -> None:
    (folder / "long.txt").write_text("bo " * 200, "utf-8")
    printed = run("--passages", "long.txt", "--query", "bo")
    shown = " ".join(printed.partition("long.txt:1")[2].split())
    assert shown == f"{'bo ' * 100}..."
    answer = json.loads(run("--passages", "long.txt", "--query", "bo", "--json"))
    (hit,) = answer["results"]
    assert (hit["lang"], hit["id"], hit["text"]) == (None, "long.txt:1", ("bo " * 200).strip())


def test_vectors_are_kept_for_the_same_model_and_passages_only(
    run: Search, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    encode = TextEmbedder.encode_passages

    def counted(self: TextEmbedder, texts: Any) -> np.ndarray:
        embedded.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(TextEmbedder, "encode_passages", counted)
    count = sum(map(len, TEXTS.values()))
    for words, new in (
        ((), count),
        (("--in", "de"), 0),
        (("--passage-prefix", "passage: "), count),
        (("--passages", "other.jsonl"), count),
    ):
        other = (folder / "passages.jsonl").read_text().replace('"en-1"', '"en-9"')
        (folder / "other.jsonl").write_text(other)
        embedded.clear()
        run("--cache", "kept", *words, "--query", "bo")
        assert sum(embedded) == new, words
    assert len(list((folder / "kept").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "piped", "message"),
    [
        (("--k", "0"), b"", "--k: 0 is no number of passages; give 1 or more"),
        (("--query", " "), b"", "--query: is empty; give the words to search for"),
        (("--query", "a\udcff"), b"", "is not UTF-8; set the terminal and LANG to UTF-8"),
        (("--in", "fr"), b"", "--in fr: no passage is in it; they are in ar, de, en, zh"),
        (("--model", "runs/hybrd"), b"", "did you mean 'runs/hybrid'?"),
        ((), b"bo\n\xff\n", "standard input:2: not UTF-8 (invalid start byte at byte 0)"),
    ],
)
def test_mistakes_are_refused(
    words: tuple[str, ...],
    piped: bytes,
    message: str,
    run: Search,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words, piped=piped)
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_recipe_for_faiss_finds_the_same(run: Search, folder: Path) -> None:
    """The block of docs/after-training.md, after the command above it."""
    (recipe,) = re.findall(
        r"^```python\n(.*?import faiss.*?)^```$", PAGE.read_text("utf-8"), RECIPE
    )
    (query,) = re.findall(r'encode_queries\(\["(.*)"\]\)', recipe)
    answer = json.loads(run("--cache", "index", "--json", "--k", "5", "--query", query))
    names: dict[str, Any] = {}
    exec(recipe, names)
    assert names["index"].ntotal == sum(map(len, TEXTS.values()))
    assert [passage for _, passage in names["found"]] == [
        {name: hit[name] for name in ("id", "lang", "text")} for hit in answer["results"]
    ]
    found = [score for score, _ in names["found"]]
    np.testing.assert_allclose(found, [hit["score"] for hit in answer["results"]], atol=1e-6)


PATIENCE = 5
"""Seconds until a key is pressed again."""


def typing(program: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """A program on a terminal of its own, and our end of that terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        program,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**os.environ, "TERM": "dumb"},
        cwd=ROOT,
    )
    os.close(theirs)
    return process, ours


def read_until(terminal: int, end: str, key: bytes = b"") -> str:
    """What the program prints, up to the given text, or all of it once it has ended.

    A `key` is pressed until something comes: one that arrives just before Python waits for input
    is not noticed until the next.
    """
    content = b""
    while not end or end.encode() not in content:
        if not select.select([terminal], [], [], PATIENCE if key else None)[0]:
            os.write(terminal, key)
            continue
        try:
            more = os.read(terminal, 4096)
        except OSError:  # the program has ended
            break
        content += more
    return content.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("key", "code", "last"), [("\x04", 0, ""), ("\x03", 130, "interrupted")])
def test_a_prompt_answers_until_a_key_ends_it_in_one_line(
    key: str, code: int, last: str, folder: Path
) -> None:
    model, passages = str(folder / "runs/hybrid"), str(folder / "passages.jsonl")
    words = ["--model", model, "--passages", passages, "--cache", str(folder / "vectors")]
    process, terminal = typing([str(warm_python()), "-m", "hybrid_dist", "search", *words])
    try:
        assert "passages.jsonl: 7 passages in 4 languages" in read_until(terminal, "query> ")
        os.write(terminal, "wüste 漢字 bo\n".encode())
        answer = read_until(terminal, "query> ")
        assert answer.count(". ") >= 7 and "《浮士德》" in answer
        os.write(terminal, key.encode())
        rest = (
            read_until(terminal, "", key.encode())
            .replace("^C", "")
            .replace("^D", "")
            .strip("\b\n ")
        )
        assert rest == (f"hybrid-dist search: {last}" if last else "")
        assert process.wait() == code
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(terminal)
