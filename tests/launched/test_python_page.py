"""docs/python.md runs from top to bottom and its outputs are right."""

import doctest
import re
from pathlib import Path

import pytest

from tests.support.launch import ROOT, output_of, start_forked, warm_python

PAGE = ROOT / "docs" / "python.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```(bash|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(text: str) -> list[str]:
    """Run the blocks of a page in order, in the current folder; what differs from the page."""
    names: dict[str, object] = {}
    differences: list[str] = []
    for block in BLOCK.finditer(text):
        language, code = block.groups()
        line = text[: block.start(2)].count("\n")
        if language == "bash":
            shell(code)
            continue
        test = doctest.DocTestParser().get_doctest(code, names, PAGE.name, str(PAGE), line)
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(test, out=differences.append, clear_globs=False)
        names = test.globs
    return differences


def shell(code: str) -> None:
    """Run a block of commands with this Python's hybrid-dist."""
    code = code.replace("hybrid-dist ", "python -m hybrid_dist ")
    code = code.replace("python -m", f'"{warm_python()}" -m')
    process = start_forked(["bash", "-euc", f'cd "{Path.cwd()}"\n{code}'])
    output = output_of(process)
    assert process.returncode == 0, output


def test_the_page_shows_the_real_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    differences = run_page(PAGE.read_text("utf-8"))
    assert not differences, "".join(differences)


def test_a_wrong_output_is_noticed() -> None:
    page = "```pycon\n>>> a = 1\n>>> a\n2\n\n```\ntext\n```pycon\n>>> a + 1\n2\n\n```\n"
    assert "Expected:\n    2\nGot:\n    1" in "".join(run_page(page))
    assert run_page(page.replace(">>> a\n2", ">>> a\n1")) == []
