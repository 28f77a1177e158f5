"""The files of an MTEB data set: tables by subset, role and split, and what languages they have."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_dist.data.languages import english_names, two_letters
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.paths import local, search
from hybrid_dist.data.tables.table_files import front_matter, listed_splits, matching, one_of
from hybrid_dist.data.tables.table_rows import KINDS
from hybrid_dist.errors import UserError

DEFAULT = "default"
"""The subset of a data set without subsets."""
ROLES = {
    "corpus": "corpus",
    "queries": "queries",
    "query": "queries",
    "qrels": "qrels",
    "default": "qrels",
    "instruction": "instruction",
    "instructions": "instruction",
    "top_ranked": "top_ranked",
}
"""Names of configurations and what they hold; of two names for one thing, the later is read."""
ROLE = f"(?P<role>{'|'.join(ROLES)})"
CONFIGS = (re.compile(rf"(?:(?P<subset>.+)-)?{ROLE}"), re.compile(rf"{ROLE}-(?P<subset>.+)"))
FILE = (
    rf"(?:.*?/)??(?:(?P<subset>[^/]+?)[-/])?{ROLE}(?:[-./](?P<split>[^/.-]+?))?"
    rf"(?:-\d+-of-\d+)?\.(?:{'|'.join(KINDS)})"
)
EXPECTED = (
    "corpus, queries and qrels as configurations in README.md (corpus, queries, qrels or default; "
    "de-corpus, de-queries, de-qrels), or as files such as corpus.jsonl, queries.jsonl and "
    "qrels/test.jsonl"
)
Splits = dict[str, list[Path]]


class Table(NamedTuple):
    """The files of a table."""

    where: str
    files: list[Path]


@dataclass(frozen=True)
class Snapshot:
    """A data set's folder."""

    path: str
    tables: dict[tuple[str, str], Splits]
    """By subset and role."""
    language: Any
    """What README.md says of it."""
    revision: str
    """The commit, if this is a folder of the hub's cache."""

    @classmethod
    def of(cls, path: str) -> "Snapshot":
        """Find the tables by the list in README.md, or else by the names of files."""
        place = local(path)
        if not place.is_dir():
            raise UserError(f"{path}: is a file; give the folder with {EXPECTED}")
        tables = _by_list(place) or _by_name(path)
        if not any(role == "qrels" for _, role in tables):
            raise UserError(f"{path}: has no qrels; expected {EXPECTED}")
        revision = place.name if place.parent.name == "snapshots" else ""
        return cls(path, tables, front_matter(place).get("language"), revision)

    def subsets(self, given: str | None) -> list[str]:
        """The subsets of the option; the only one where there is none."""
        known = [subset for subset, role in self.tables if role in ("queries", "qrels")]
        if len(set(known)) > 1 and (DEFAULT, "queries") not in self.tables:
            known = [name for name in known if name != DEFAULT]  # qrels that all subsets share
        known = list(dict.fromkeys(known))
        if given == "all":
            return known
        if given is None and DEFAULT in known:
            return [DEFAULT]
        chosen = [None] if given is None else given.split(",")
        return list(dict.fromkeys(one_of(self.path, "subset", one, known) for one in chosen))

    def table(self, subset: str, role: str, split: str, others: bool = True) -> Table:
        """A table of a subset, or that of all subsets.

        `others`: whether its only split will do, where it is called otherwise.
        """
        found = self.find(subset, role)
        if found is None:
            raise UserError(f"{self.path}: subset {subset} has no {role}; expected {EXPECTED}")
        where = f"{self.path}, {role} of subset {subset}"
        split = next(iter(found)) if others and len(found) == 1 else split
        files = found[one_of(where, "split", split, found)]
        if not files:
            raise UserError(f"{where}: README.md lists files for it, and none is there")
        return Table(where, files)

    def find(self, subset: str, role: str) -> Splits | None:
        """The splits of a table."""
        return self.tables.get((subset, role)) or self.tables.get((DEFAULT, role))


def languages_of(reading: Reading, snapshot: Snapshot, subset: str) -> tuple[str, str]:
    """The languages of a subset's queries and passages.

    Without the option, tables of the subset have those of its name, and others that of README.md.
    """
    given = reading.options.get("language")
    try:
        if given is not None:
            codes = [reading.language(code) for code in given.split(",")]
            if len(codes) > 2:
                raise ValueError("give one language, or that of queries and that of passages")
            return codes[0], codes[-1]
    except ValueError as error:
        raise UserError(f"option language={given}: {error}") from None
    own, stated = _of_name(reading, subset), _stated(reading, snapshot)
    own = own if all(own) else (stated, stated)
    shared = [
        (DEFAULT, role) in snapshot.tables and (subset, role) not in snapshot.tables
        for role in ("queries", "corpus")
    ]
    queries, passages = (
        stated if common and subset != DEFAULT else lang
        for lang, common in zip(own, shared, strict=True)
    )
    problem = "its name tells no language"
    if queries and passages:
        if any(shared) or queries != passages or stated in ("", queries):
            return queries, passages
        problem = f"its name tells the language {queries}, and README.md has {stated}"
    elif all(own):
        what = "queries" if passages else "corpus"
        problem = f"has the {what} of all subsets, and README.md does not give one language"
    raise UserError(
        f"{snapshot.path}: subset {subset}: {problem}; give the option language=en, or that of "
        "queries and that of passages: language=en,de"
    )


def _of_name(reading: Reading, subset: str) -> tuple[str, str]:
    """The languages of queries and passages in a subset's name; empty if it tells none."""
    if subset == DEFAULT:
        return "", ""
    if one := _language(reading, subset):
        return one, one
    parts = subset.split("-")
    sides = [_language(reading, part) for part in parts]
    if len(sides) == 2 and all(sides) and max(map(len, parts)) > 2:
        return sides[1], sides[0]
    return "", ""


def _stated(reading: Reading, snapshot: Snapshot) -> str:
    """The only language in README.md; empty if there is none, or several."""
    stated = snapshot.language
    names = stated if isinstance(stated, list) else [stated]
    return _language(reading, names[0]) if len(names) == 1 else ""


def _language(reading: Reading, name: Any) -> str:
    """The language that a name tells; empty if it tells none. `en-de` may be one or two."""
    if not isinstance(name, str) or ("-" in name and set(name.split("-")) <= two_letters()):
        return ""
    try:
        return reading.language(english_names().get(name.lower(), name))
    except ValueError:
        return ""


def _by_list(place: Path) -> dict[tuple[str, str], Splits]:
    listed = listed_splits(place)
    found = {config: _config(config) for config in listed}
    ours = {config: match for config, match in found.items() if match is not None}
    order = list(ROLES)
    return {
        (match["subset"] or DEFAULT, ROLES[match["role"]]): {
            split: sorted(set(matching(place, patterns)))
            for split, patterns in listed[config].items()
        }
        for config, match in sorted(ours.items(), key=lambda one: order.index(one[1]["role"]))
    }


def _config(name: str) -> re.Match[str] | None:
    return next((match for one in CONFIGS if (match := one.fullmatch(name))), None)


def _by_name(path: str) -> dict[tuple[str, str], Splits]:
    tables: dict[tuple[str, str], Splits] = {}
    for file, match in search([path], FILE):
        splits = tables.setdefault((match["subset"] or DEFAULT, ROLES[match["role"]]), {})
        splits.setdefault(match["split"] or "", []).append(file)
    return tables
