"""Texts are made safe to show."""

import io
import json

import pytest
from rich.console import Console
from rich.table import Table

from hybrid_dist.errors import UserError
from hybrid_dist.text import (
    cell,
    csv_text,
    json_text,
    latex,
    markdown,
    printable,
    without_secrets,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 中 עברית \u200d", "plain ü 中 עברית \u200d"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\u202eabc\u2066\u2028", r"\u202eabc\u2066\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode("utf-8")


def test_line_ends_may_stay() -> None:
    assert printable("a\n\tb\x1b\r", lines=True) == "a\n\tb\\x1b\\r"


@pytest.mark.parametrize("text", [r"\[/b]", "[/]", "[bold]", "\\", "[link=x]y[/link]", "\x1b[1m"])
def test_a_cell_is_no_markup(text: str) -> None:
    out = io.StringIO()
    table = Table("Name")
    table.add_row(cell(text))
    Console(file=out, width=60).print(table)
    assert printable(text) in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("xquad_r at ~/a-b.c", r"xquad_r at \~/a-b.c"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("p < 0.001 & q", "p < 0.001 & q"),
        ("&lt;b&#62;", "&amp;lt;b&amp;#62;"),
        ("[a](javascript:x) ![b](c)", r"\[a\](javascript:x) !\[b\](c)"),
        ("a|b `c` *d* _e_ $f$ \\", r"a\|b \`c\` \*d\* \_e\_ \$f\$ \\"),
        ("a\nb", r"a\\nb"),
    ],
)
def test_markdown_shows_text_as_it_is(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "> a", "=== a", "1. a", "12) a"])
def test_markdown_at_a_line_s_start(text: str) -> None:
    escaped = markdown(text, starts_line=True)
    assert escaped.replace("\\", "") == text
    assert not escaped.startswith(tuple("#-+>=")) and escaped[:2] != "1." and escaped[:3] != "12)"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1"])
def test_a_spreadsheet_takes_no_text_for_a_formula(text: str) -> None:
    assert csv_text(text)[0] in "'\\"
    assert csv_text("a=b;c") == "a=b;c"


def test_nor_where_a_semicolon_ends_a_cell() -> None:
    assert csv_text("a;=1;+2") == "a;'=1;'+2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pass@host/x: no such file", "https://***@host/x: no such file"),
        ("https://token@host", "https://***@host"),
        (f"--token hf_{'aB3' * 10}", "--token ***"),
        ("user@host, a@b.org, https://host/a@b, hf_model", None),
    ],
)
def test_messages_have_no_secrets(text: str, shown: str | None) -> None:
    assert str(UserError(text)) == without_secrets(text) == (shown or text)


def test_latex() -> None:
    assert latex(r"50% of a_b\c [x] *") == r"50\% of a\_b\textbackslash{}c {[}x{]} {*}"


def refused(constant: str) -> None:
    raise ValueError(constant)


def test_json_is_taken_by_strict_readers_and_safe_to_print() -> None:
    thing = {"a\x9b": [float("nan"), float("-inf"), 0.1, (1, None)], "b": "\x1b\u2028\ud800ü"}
    text = json_text(thing)
    found = json.loads(text, parse_constant=refused)
    assert found == {"a\x9b": [None, None, 0.1, [1, None]], "b": "\x1b\u2028\ud800ü"}
    assert printable(text) == text and "ü" in text
