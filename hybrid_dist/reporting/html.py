"""HTML blocks of self-contained pages, with style, script and images inline. Text is escaped here.

page.css, page.js and matrix.js are the templates' style and script.
"""

import base64
import hashlib
import html as standard
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hybrid_dist.data.languages import canonical, script_of
from hybrid_dist.text import json_text, printable

RIGHT_TO_LEFT = ("Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm", "Rohg")
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{blocks}
</main>
<script>{script}</script>
</body>
</html>
"""

WIDEST = 1400
"""Pixels of the widest image that is shrunk to the page, and of the tallest that is shown whole."""


class Markup(str):
    """HTML that may be shown as it is."""


@dataclass(frozen=True)
class Card:
    """A headline figure."""

    label: str
    value: str
    between: str
    """Its interval; may be empty."""
    note: str


def escape(text: object) -> str:
    """Text for HTML, with control characters made visible."""
    return standard.escape(printable(text, lines=True))


def page(title: str, lead: str, blocks: Sequence[str]) -> str:
    """A complete page. Blocks are HTML; title and lead are plain text.

    Its policy lets it load nothing, and run no script but its own.
    """
    script = _template("page.js") + _template("matrix.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'")
    policy = "; ".join([*allowed, f"script-src 'sha256-{digest}'"])
    return HEAD.format(
        policy=policy,
        title=escape(title),
        lead=escape(lead),
        style=_template("page.css"),
        blocks="\n".join(blocks),
        script=script,
    )


@cache
def _template(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


def heading(text: str, note: str = "", level: int = 2) -> str:
    title = f"<h{level}>{escape(text)}</h{level}>"
    return title + (f'\n<p class="note">{escape(note)}</p>' if note else "")


def paragraph(text: str, style: str = "") -> str:
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def link(address: str, text: str) -> Markup:
    return Markup(f'<a href="{escape(address)}">{escape(text)}</a>')


def foreign(language: str, text: str) -> Markup:
    """A text in its language and direction, apart from the direction of what is around it."""
    try:
        name = canonical(language)
    except ValueError:  # a label of the task's own
        return Markup(f'<bdi dir="auto">{escape(text)}</bdi>')
    direction = "rtl" if script_of(name) in RIGHT_TO_LEFT else "ltr"
    return Markup(f'<bdi lang="{escape(name)}" dir="{direction}">{escape(text)}</bdi>')


def cards(items: Sequence[Card]) -> str:
    shown = (
        f'<div class="card"><span class="label">{escape(item.label)}</span>'
        f'<b>{escape(item.value)}</b><span class="between">{escape(item.between)}</span>'
        f"<span>{escape(item.note)}</span></div>"
        for item in items
    )
    return f'<div class="cards">{"".join(shown)}</div>'


def table(
    head: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    caption: str,
    marks: Sequence[Sequence[str | bool]] | None = None,
    filtered: bool = False,
) -> str:
    """A table with columns (name, tooltip), which scripts sort and save as CSV.

    The first cell heads its row, and the second line of a cell is small and faint. `marks` are
    classes of cells, or whether a cell is the best. `filtered`: the page chooses rows by their
    first cell.
    """
    names = ""
    for column, (name, hint) in enumerate(head):
        of_text = bool(rows) and isinstance(rows[0][column], Markup)
        style = ' class="text"' if of_text else ""
        title = f' title="{escape(hint)}"' if hint else ""
        names += f'<th scope="col"{style}{title}>{escape(name)}</th>'
    body = []
    for number, row in enumerate(rows):
        marked = marks[number] if marks else [""] * len(row)
        cells = [_cell(cell, mark) for cell, mark in zip(row[1:], marked[1:], strict=True)]
        body.append(f'<tr><th scope="row">{_content(row[0])}</th>{"".join(cells)}</tr>')
    extra = ' data-filter="1"' if filtered else ""
    return (
        f'{scrolled(caption)}<table data-name="{escape(file_name(caption))}"{extra}>'
        f'<caption class="unseen">{escape(caption)}</caption><thead><tr>{names}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def scrolled(caption: str) -> str:
    """The start of a table's frame, which keyboards can scroll."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'


def file_name(caption: str) -> str:
    """The name of a table's CSV file."""
    words = "".join(letter if letter.isalnum() else " " for letter in caption.lower()).split()
    return "-".join(words)[:60]


def _cell(cell: str, mark: str | bool) -> str:
    style = "text" if isinstance(cell, Markup) else "best" if mark is True else mark
    return f'<td class="{style}">{_content(cell)}</td>' if style else f"<td>{_content(cell)}</td>"


def _content(text: str) -> str:
    if isinstance(text, Markup):
        return text
    first, _, second = text.partition("\n")
    interval, semicolon, rest = map(escape, second.partition("; "))
    if semicolon:  # where a narrow cell is broken
        interval, rest = f"<span>{interval};</span> ", f"<span>{rest}</span>"
    return escape(first) + (f"<small>{interval}{rest}</small>" if second else "")


def data(content: Any) -> str:
    """Data for the page's script. No text in it can end the element."""
    safe = json_text(content, compact=True).replace("&", "\\u0026").replace("<", "\\u003c")
    return f'<script type="application/json">{safe}</script>'


def picture(png: bytes, alt: str, caption: str = "") -> str:
    """An inline image at half its pixel size, since plots are drawn for high-density screens.

    One that is much wider than the page, or taller than a screen or two, is scrolled.
    """
    width, height = (int.from_bytes(png[at : at + 4], "big") // 2 for at in (16, 20))
    source = base64.b64encode(png).decode()
    image = f'<img src="data:image/png;base64,{source}" alt="{escape(alt)}" width="{width}">'
    if max(width, height) > WIDEST:
        image = f"{scrolled(alt.partition('. ')[0])}{image}</div>"
    figcaption = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{image}{figcaption}</figure>"


def definitions(items: dict[str, object]) -> str:
    shown = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items.items())
    return f"<dl>{''.join(shown)}</dl>"
