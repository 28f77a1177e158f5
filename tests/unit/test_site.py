"""The documentation as a site: built by mkdocs without a warning, whole, and from here alone."""

import logging
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from hybrid_dist.cli import COMMANDS
from hybrid_dist.config.schema import Config, flatten
from tests.support.launch import ROOT

pytest.importorskip("material", reason="pip install mkdocs-material: the site is not built")

PAGES = [
    file.relative_to(ROOT)
    for pattern in ("docs/*.md", "docs/decisions/*.md", "*.md", "launchers/*.md", "examples/*/*.md")
    for file in sorted(ROOT.glob(pattern))
]
COUNTED = ("h1", "h2", "h3", "h4", "ul", "ol", "li", "table", "tr", "td", "th", "pre", "img", "a")
"""What has to be as often on a page of the site as where GitHub shows it."""


class Tags(HTMLParser):
    """The tags of a page and their attributes, without the navigation around its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def counts(self) -> dict[str, int]:
        names = [tag for tag, attrs in self.found if attrs.get("class") != "headerlink"]
        return {tag: names.count(tag) for tag in COUNTED}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The site, built as `make docs` does: a warning ends it."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    out = tmp_path_factory.mktemp("site")
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(out))
    config.plugins.run_event("startup", command="build", dirty=False)
    build(config)
    yield out


def article(page: Path) -> str:
    """The text of a page, without what the theme puts around it."""
    found = re.search(r"<article.*?>(.*?)</article>", page.read_text("utf-8"), re.DOTALL)
    assert found is not None, page
    return found[1]


def test_the_reference_has_every_key(site: Path) -> None:
    ids = {
        attrs.get("id") for _, attrs in Tags(article(site / "reference/configuration.html")).found
    }
    assert flatten(Config()).keys() <= ids


def test_the_reference_has_every_command(site: Path) -> None:
    text = article(site / "reference/commands.html")
    for name in COMMANDS:
        assert f'<h2 id="{name}">' in text
    for name in COMMANDS.keys() - {"train"}:
        assert f"usage: hybrid-dist {name}" in text


def test_a_key_is_explained_with_its_values(site: Path) -> None:
    text = article(site / "reference/configuration.html")
    start = text.index('<h3 id="batching.size">')
    explained = text[start : text.index("<h3", start + 1)]
    assert "integer from 2 " in explained
    assert "<code>128</code>" in explained and "GLOBAL batch" in explained


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag, attrs in Tags(page.read_text("utf-8")).found:
            loaded = attrs.get("src") or (attrs.get("href") if tag == "link" else None) or ""
            assert not loaded.startswith(("http", "//")), f"{page}: {loaded}"


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_a_page_has_the_parts_that_github_shows(site: Path, path: Path) -> None:
    """Lists and tables that need a blank line or other indentation here would be text."""
    is_inside = path.parts[0] == "docs"
    page = Path(*path.parts[1:]) if is_inside else "project" / path
    name = page.name.replace("README", "index").replace(".md", ".html")
    text = (ROOT / path).read_text("utf-8")
    theirs = Tags(MarkdownIt("commonmark").enable("table").render(text)).counts()
    assert Tags(article(site / page.with_name(name))).counts() == theirs
