"""tldr-pages as its repository has them: `pages/PLATFORM/COMMAND.md`, and `pages.LANG` for others.

An example on a page is a description and a command line. The description is a query, and the
page's name and summary its passage. Examples of a page in two languages are parallel if their
commands are equal but for their placeholders.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.collecting import Pair, blocks
from hybrid_dist.data.sources.lines import lines, nfc
from hybrid_dist.data.sources.paths import find
from hybrid_dist.data.sources.source import Source, check_languages, language_of, wanted_languages

NAME = r"(?:.*/)?pages(?:\.(?P<lang>[A-Za-z_]+))?/(?P<page>[a-z]+/[^/]+)\.md"
EXPECTED = "pages/PLATFORM/COMMAND.md and pages.LANG/PLATFORM/COMMAND.md, as in tldr-pages"
LINK = re.compile(r"<http[^>]*>\W*$")
"""The end of a line that says where to read more."""
PLACEHOLDER = re.compile(r"\{\{.*?\}\}")
MNEMONIC = re.compile(r"\[(\w+)\]")
"""Letters of a description that name an option, as in `[c]reate an archive`."""


class Example(NamedTuple):
    """A description of what a command does, and the command without its placeholders."""

    query: str
    skeleton: str
    line: int


class Page(NamedTuple):
    file: Path
    lang: str
    name: str
    """PLATFORM/COMMAND, the same in all languages."""
    passage: str
    examples: list[Example]


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """The examples that the English page has too.

    Descriptions that stand on several pages of a language are left out, since no page alone would
    be right, and so are those that are still in English.
    """
    return blocks(_pairs(_pages(paths, reading), reading))


def _pairs(pages: list[Page], reading: Reading) -> Iterator[Pair]:
    only = wanted_languages(reading)
    english = {page.name: page for page in pages if page.lang == "en"}
    on_pages = Counter((p.lang, query) for p in pages for query in {e.query for e in p.examples})
    for page in pages:
        original = english.get(page.name)
        if original is None or not (only is None or page.lang in only):
            continue
        numbers = {skeleton: n for n, skeleton in enumerate(_distinct(original))}
        untranslated = set() if page is original else {e.query for e in original.examples}
        first = reading.place(page.file, 0)
        for skeleton, example in _distinct(page).items():
            ambiguous = on_pages[page.lang, example.query] > 1
            if skeleton in numbers and not ambiguous and example.query not in untranslated:
                uid = f"{page.name}#{numbers[skeleton]}"
                place = first + example.line
                yield Pair(uid, page.lang, example.query, page.passage, [], place)


def _distinct(page: Page) -> dict[str, Example]:
    """The examples by their skeletons, without those that the page has twice."""
    counts = Counter(example.skeleton for example in page.examples)
    return {e.skeleton: e for e in page.examples if counts[e.skeleton] == 1}


def _pages(paths: Sequence[str], reading: Reading) -> list[Page]:
    pages: dict[tuple[str, str], Page] = {}
    for file, match in find(paths, NAME, EXPECTED):
        lang = language_of(reading, match["lang"] or "en", file)
        if (lang, match["page"]) not in pages:  # English may be there as pages.en as well
            page = _page(file, lang, match["page"], reading)
            if page is not None:
                pages[lang, page.name] = page
    check_languages(reading, {lang for lang, _ in pages}, ", ".join(paths))
    return list(pages.values())


def _page(file: Path, lang: str, name: str, reading: Reading) -> Page | None:
    """A page: `# name`, `> summary` lines, then `- description:` and `command` lines."""
    title, query = "", ""
    summary: list[str] = []
    examples: list[Example] = []
    for number, line in lines(reading, file):
        kind, _, rest = line.partition(" ")
        if kind == "#":
            title = rest.strip()
        elif kind == ">" and not (summary and LINK.search(rest)):
            summary.append(rest.strip())
        elif kind == "-":
            query, at = MNEMONIC.sub(r"\1", rest).strip().rstrip(":：").strip(), number
        elif line.startswith("`") and query:
            examples.append(Example(_plain(query), PLACEHOLDER.sub("{}", line.strip()), at))
            query = ""
    if not title or not summary:
        reading.refuse(f"{file}:1", "expected a line `# name` and a line `> summary`, as tldr has")
        return None
    return Page(file, lang, name, _plain(f"{title}: {' '.join(summary)}"), examples)


def _plain(text: str) -> str:
    """A text without Markdown's marks of code, in NFC."""
    return nfc(text.replace("`", ""))


SOURCE = Source(
    "tldr",
    "tldr-pages: descriptions of commands in many languages",
    "pages/PLATFORM/COMMAND.md, pages.LANG/PLATFORM/COMMAND.md",
    pairs,
    options={"languages": "read these only, as in languages=en,de"},
)
