"""Files of links beside good pairs: refused with a line, or pairs joined by the rules."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hybrid_dist.data.changes import Changes
from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from tests.fuzz import reference
from tests.fuzz.edits import Tree
from tests.fuzz.reference import Doubt
from tests.fuzz.target import Target, Variants
from tests.fuzz.targets.pairs import held_to, rows_of
from tests.support.published_files import json_lines, write

UIDS = {"e1": "en", "e2": "en", "e3": "en", "d1": "de", "d2": "de", "f\u00e91": "fr"}
LINKS = "e1\td1\nd2\te2\r\n\nf\u00e91\td1\n"


def _folder(folder: Path, links: str) -> None:
    pairs = [
        {"uid": uid, "lang": lang, "query": f"{uid}?", "passage": f"{lang} {uid}"}
        for uid, lang in UIDS.items()
    ]
    json_lines(folder / "a.jsonl", *pairs, pairs[0] | {"uid": "e1b"})
    write(folder / links, LINKS)


def _plain(folder: Path) -> None:
    _folder(folder, "links.tsv")


def _packed(folder: Path) -> None:
    _folder(folder, "links.tsv.gz")


class Linked(Target):
    name = "links"
    variants: ClassVar[Variants] = {"plain": _plain, "packed": _packed}
    outputs = ("out/store",)

    def among(self, variant: str, tree: Tree) -> Sequence[str]:
        return [name for name in tree if name.startswith("links")]

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        changes = Changes(_links(variant, folder))
        source, paths = SOURCES["pairs"], [str(folder / "a.jsonl")]
        prepare(source, paths, out / "store", Reading(), changes=changes)
        return rows_of(Store(out / "store"))

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        return held_to(lambda: _expected(variant, folder), value)

    def refused(self, variant: str, folder: Path, message: str) -> str | None:
        if not re.search(r"links\.tsv|a\.jsonl:\d", message):
            return f"a message without a place: {message[:200]}"
        try:
            _expected(variant, folder)
        except (Doubt, OSError):
            return None
        return f"refused, though the rules allow it: {ascii(message)[:300]}"


def _links(variant: str, folder: Path) -> Path:
    return folder / ("links.tsv" if variant == "plain" else "links.tsv.gz")


def _expected(variant: str, folder: Path) -> reference.Rows:
    """The pairs with the uids that their links give them, by the rules of docs/data.md."""
    rows = reference.pair_rows([folder / "a.jsonl"])
    file = _links(variant, folder)
    if not file.is_file():
        raise Doubt("there is no file of links")
    groups: list[set[str]] = []
    for number, line in reference.lines(file):
        linked = _ids(number, line)
        if linked:
            apart = [group for group in groups if not group & linked]
            groups = [*apart, linked.union(*(group for group in groups if group & linked))]
    if not groups:
        raise Doubt("there is no link")
    uid_of = {uid: min(group) for group in groups for uid in group}
    if unknown := uid_of.keys() - {uid for _, uid, *_ in rows}:
        raise Doubt("a link has an unknown uid", min(unknown))
    found: dict[tuple[str, str], Any] = {}
    for lang, uid, *texts in rows:
        if found.setdefault((lang, uid_of.get(uid, uid)), texts) != texts:
            raise Doubt("two texts of a language are linked", uid)
    return sorted((lang, uid, *texts) for (lang, uid), texts in found.items())


def _ids(number: int, line: bytes) -> set[str]:
    """The two uids of a line, or none if it is blank."""
    try:
        text = line.decode().rstrip("\r")
    except UnicodeDecodeError:
        raise Doubt("a line is not UTF-8", number) from None
    text = text.removeprefix("\ufeff") if number == 1 else text
    cells = text.split("\t")
    if not text.strip():
        return set()
    if len(cells) != 2 or not all(cell.strip() for cell in cells):
        raise Doubt("a line has other than two uids", number)
    return {reference.nfc(cell) for cell in cells}
