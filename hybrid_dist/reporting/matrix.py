"""Matrices of figures by language as HTML tables, which the page's script colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_dist.reporting import html

DIGITS = 3
MOST_CELLS = 40_000
"""Larger matrices would make a page of tens of megabytes."""
BETTER, WORSE, OPEN = "b", "w", "o"
SYMBOLS = {BETTER: "▲ ", WORSE: "▼ ", OPEN: "○ "}


@dataclass(frozen=True)
class Layer:
    """One of the figures that a matrix shows in turn."""

    name: str
    values: np.ndarray
    """[rows, columns]; NaN where there is none."""
    span: tuple[float, float]
    """The values at the ends of the colour scale."""
    signed: bool = False
    """A difference: coloured by its sign."""
    marks: np.ndarray | None = None
    """[rows, columns]: BETTER, WORSE or OPEN, for differences that were tested."""

    def texts(self) -> list[str]:
        """The figures as they are shown, row by row."""
        form = "+.3f" if self.signed else ".3f"
        values = self.values.ravel().tolist()
        shown = ["-" if value != value else f"{value:{form}}" for value in values]
        if self.marks is None:
            return shown
        marks = self.marks.ravel().tolist()
        pairs = zip(marks, shown, strict=True)
        return [text if text == "-" else SYMBOLS[mark] + text for mark, text in pairs]

    def content(self) -> dict[str, object]:
        """What the page's script reads."""
        scaled = np.round(self.values.ravel() * 10**DIGITS)
        values = [None if value != value else int(value) for value in scaled.tolist()]
        marks = {} if self.marks is None else {"marks": "".join(self.marks.ravel().tolist())}
        return {
            "name": self.name,
            "digits": DIGITS,
            "span": [float(edge) for edge in self.span],
            "signed": self.signed,
            "values": values,
            **marks,
        }


def span(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """The lowest and the highest figure of several arrays."""
    known = np.concatenate([array[~np.isnan(array)] for array in values])
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def matrix(
    layers: Sequence[Layer],
    rows: Sequence[str],
    columns: Sequence[str],
    caption: str,
    axes: tuple[str, str],
    symmetric: bool = False,
    extra: Sequence[str] = (),
) -> str:
    """A matrix that shows its first layer; the script offers the others.

    `axes` are words before the name of a row and of a column; `extra` are rows that are no
    languages.
    """
    texts, width = layers[0].texts(), len(columns)
    names = [html.escape(name) for name in columns]
    head = f'<th scope="col">{html.escape(f"{axes[0]} / {axes[1]}")}</th>' + "".join(
        f'<th scope="col">{name}</th>' for name in names
    )
    body = []
    for number, name in enumerate(rows):
        cells = "<td>".join(texts[number * width : (number + 1) * width])
        body.append(f'<tr><th scope="row">{html.escape(name)}</th><td>{cells}')
    content = {
        "axes": axes,
        "symmetric": symmetric,
        "extra": list(extra),
        "layers": [layer.content() for layer in layers],
    }
    return (
        f'<div class="matrix">{html.data(content)}{html.scrolled(caption)}'
        f'<table data-name="{html.escape(html.file_name(caption))}">'
        f'<caption class="unseen">{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div></div>"
    )
