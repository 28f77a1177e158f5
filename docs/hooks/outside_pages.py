"""A hook of mkdocs: pages of the site for what docs/ links to elsewhere in the repository.

The pages are read on GitHub as they are, so they link to ../README.md or ../examples. In the site,
a Markdown file out there is the page project/PATH, any other text a page with its code, and a
folder a page that lists its files. Pages that these link to come along. A link whose text is the
name of a file has the title of the page, or of its section, instead.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[2]
DOCS, PROJECT = "docs/", "project/"
LINK = re.compile(r"(\[[^\[\]]*)?\]\((?![a-z]+:)([^)#\s]*)(#[^)\s]*)?\)")
FILE_NAME = re.compile(r"\[[\w./-]*(\.md|\w/[\w-]+)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
CODE = re.compile(rf"({CODE_BLOCK.pattern}|`[^`\n]+`)", CODE_BLOCK.flags)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each target of a link that is not in docs/."""
    to_read = [path_of(file.src_uri) for file in files.documentation_pages()]
    while to_read:
        for target in targets(to_read.pop()):
            if not target.startswith(DOCS) and uri_of(target) not in files.src_uris:
                files.append(File.generated(config, uri_of(target), content=content(target)))
                to_read.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page to the site's pages."""
    here = path_of(page.file.src_uri)
    folder = posixpath.dirname(page.file.src_uri) or "."

    def relinked(link: re.Match[str]) -> str:
        text, path, anchor = link[1] or "", link[2], link[3] or ""
        target = resolved(here, path) if path else here
        if target is None or uri_of(target) not in files.src_uris:
            return link[0]
        if FILE_NAME.fullmatch(text):
            text = "[" + title(target, anchor[1:])
        return f"{text}]({posixpath.relpath(uri_of(target), folder) if path else ''}{anchor})"

    parts = CODE.split(markdown)
    parts[::2] = [LINK.sub(relinked, text) for text in parts[::2]]
    return "".join(parts)


def targets(path: str) -> Iterator[str]:
    """What a Markdown file of the repository links to, as paths in the repository."""
    if path.endswith(".md") and (ROOT / path).is_file():
        text = CODE.sub("", (ROOT / path).read_text("utf-8"))
        found = (resolved(path, link[2]) for link in LINK.finditer(text) if link[2])
        yield from (target for target in found if target is not None)


def resolved(path: str, link: str) -> str | None:
    """The path in the repository that a link in one of its files leads to, if it exists."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return target if not target.startswith("..") and (ROOT / target).exists() else None


def uri_of(path: str) -> str:
    """The source of the site's page for a path in the repository."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    if (ROOT / path).is_dir():
        return f"{PROJECT}{path}/files.md"
    return PROJECT + (path if path.endswith(".md") else f"{path}.md")


def path_of(uri: str) -> str:
    """The reverse for pages that are Markdown files."""
    return uri.removeprefix(PROJECT) if uri.startswith(PROJECT) else DOCS + uri


def title(path: str, anchor: str) -> str:
    """The heading of a page of the repository, or of a section of it."""
    if not path.endswith(".md"):
        return path
    headings = HEADING.findall(CODE_BLOCK.sub("", (ROOT / path).read_text("utf-8")))
    anchors = {slugify(case="lower")(heading, "-"): heading for heading in reversed(headings)}
    return anchors.get(anchor, headings[0])


def content(path: str) -> str:
    """The Markdown of a page for a file or folder outside docs/."""
    target = ROOT / path
    if target.is_dir():
        names = sorted(file.name for file in target.iterdir() if file.name[0] not in "._")
        return "\n".join([f"# {path}", "", "In the repository:", "", *(f"- `{n}`" for n in names)])
    text = target.read_text("utf-8")
    language = target.suffix[1:]
    return text if language == "md" else f"# {path}\n\n```{language}\n{text}```\n"
