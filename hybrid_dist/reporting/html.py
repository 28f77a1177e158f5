"""HTML blocks of self-contained pages, with style and images inline. All text is escaped here."""

import base64
import html as standard
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_dist.text import printable

STYLE = """
:root { --ink: #1f2933; --faint: #66727f; --line: #e3e8ee; --soft: #f6f8fa; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: white; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 940px; margin: 0 auto; padding: 48px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 52px 0 6px; }
p { margin: 6px 0 14px; max-width: 720px; }
.lead, .note, figcaption { color: var(--faint); }
.note, figcaption { font-size: 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px;
  margin: 28px 0 8px; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.card b { display: block; font-size: 30px; line-height: 1.2; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.card span { font-size: 14px; color: var(--faint); }
.card .between { display: block; font-variant-numeric: tabular-nums; margin-bottom: 4px; }
.card .label { color: var(--ink); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 14px 0; width: 100%; font-variant-numeric: tabular-nums;
  font-size: 15px; }
th, td { padding: 7px 9px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 2px; }
thead th { font-size: 13px; white-space: normal; color: var(--faint); font-weight: 600;
  vertical-align: bottom;  border-bottom: 2px solid var(--ink); }
td small { display: block; font-size: 12px; color: var(--faint); font-weight: 400; }
td.best { font-weight: 700; color: var(--accent); }
figure { margin: 18px 0 0; }
figure img { max-width: 100%; height: auto; display: block; }
figure.scroll img { max-width: none; }
figcaption { margin-top: 8px; max-width: 720px; }
.example { border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; margin: 16px 0; }
.example .query { font-size: 17px; font-weight: 600; }
.example ol { padding-left: 26px; margin: 10px 0 2px; }
.example li { margin: 5px 0; font-size: 15px; }
.tag { display: inline-block; font-size: 12px; font-weight: 600; padding: 0 7px; margin-right: 6px;
  border-radius: 9px; background: var(--soft); border: 1px solid var(--line); color: var(--faint); }
.tag.right { background: #e2f3ee; border-color: #9fd5c3; color: #00664b; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 22px; font-size: 14px;
  background: var(--soft); border-radius: 10px; padding: 16px 20px; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding-top: 28px; } dl { grid-template-columns: 1fr; } }
@media print { .card, .example, figure { break-inside: avoid; } }
"""

WIDEST = 1400
"""Pixels of the widest image that is shrunk to the page."""


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
    """A complete page. Blocks are HTML; title and lead are plain text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + "\n".join(blocks)
        + "\n</main>\n</body>\n</html>\n"
    )


def heading(text: str, note: str = "") -> str:
    return f"<h2>{escape(text)}</h2>" + (f'\n<p class="note">{escape(note)}</p>' if note else "")


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


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
    best: Sequence[Sequence[bool]] | None = None,
) -> str:
    """A table with columns (name, tooltip); `best` marks cells to highlight.

    The second line of a cell is small and faint.
    """
    names = "".join(f'<th title="{escape(hint)}">{escape(name)}</th>' for name, hint in head)
    body = []
    for number, row in enumerate(rows):
        marks = best[number] if best else [False] * len(row)
        cells = (
            f'<td class="best">{_cell(cell)}</td>' if mark else f"<td>{_cell(cell)}</td>"
            for cell, mark in zip(row, marks, strict=True)
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    first, _, second = text.partition("\n")
    return escape(first) + (f"<small>{escape(second)}</small>" if second else "")


def picture(png: bytes, alt: str, caption: str = "") -> str:
    """An inline image at half its pixel size, since plots are drawn for high-density screens.

    One that is much wider than the page is scrolled and not shrunk.
    """
    width = int.from_bytes(png[16:20], "big") // 2
    wide = ' class="scroll"' if width > WIDEST else ""
    source = base64.b64encode(png).decode()
    figcaption = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure{wide}><img src="data:image/png;base64,{source}" alt="{escape(alt)}" '
        f'width="{width}">{figcaption}</figure>'
    )


def definitions(items: dict[str, object]) -> str:
    shown = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items.items())
    return f"<dl>{''.join(shown)}</dl>"
