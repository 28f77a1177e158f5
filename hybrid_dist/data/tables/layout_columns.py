"""Which columns of a published layout the given files have."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.tables.column_texts import Column, field_names, parse_template
from hybrid_dist.data.tables.known_layouts import Layout
from hybrid_dist.data.tables.mapping import SCORES, Settings, listed
from hybrid_dist.data.tables.table_files import TableFile
from hybrid_dist.data.tables.table_rows import BATCH, CellFormat, read_rows
from hybrid_dist.errors import UserError


class _Head(NamedTuple):
    """The columns of a file, and its first rows."""

    file: Path
    names: Mapping[str, None]
    rows: list[dict[str, Any]]

    def has(self, columns: Sequence[Column]) -> bool | None:
        """Whether all columns are there; None if they are and all of their rows are empty."""
        each = [self._has(column) for column in columns]
        return False if False in each else (True in each or None)

    def _has(self, column: Column) -> bool | None:
        if not self.names:  # no row can be read
            return None
        root = column.root(self.names)
        if root not in self.names:
            return False
        if all(record.get(root) in (None, []) for record in self.rows):
            return None
        return root == column.name or any(
            column.name in field_names(record, column) for record in self.rows
        )


def layout_settings(
    layout: Layout,
    files: Sequence[TableFile],
    cells: CellFormat,
    given: Settings,
    notes: list[str],
) -> Settings:
    """The layout's options that are not given: of several values, the first that all files have.

    Columns of empty scores are not read, since a row has all of its scores. Files that differ are
    refused: what some of them lack would be left out of all. A store has the scores of passages
    and of negatives or none, so those of one side alone are left out, with a note.
    """
    wanted = {name: choices for name, choices in layout.options.items() if name not in given}
    every = [_columns(choice, name) for name in wanted for choice in wanted[name]]
    roots = {part for columns in every for one in columns for part in _roots(one)}
    heads = [_head(file.file, cells, roots) for file in files]
    for name in layout.numbered & wanted.keys():
        (choice,) = wanted[name]
        wanted[name] = _numbered(choice, heads)
    columns = {choice: _columns(choice, name) for name in wanted for choice in wanted[name]}
    settings: dict[str, str | list[str]] = {}
    for option, choices in wanted.items():
        for choice in choices:
            there = [head.has(columns[choice]) for head in heads]
            if False not in there and (True in there or option not in SCORES):
                settings[option] = choice
                break
            if True in there:
                having, lacking = heads[there.index(True)], heads[there.index(False)]
                raise UserError(
                    f"{lacking.file}: has no {choice}, which option {option} of {layout.name} "
                    f"reads, and {having.file} has it; prepare them into a store each, or give "
                    f"the option {option}"
                )
        else:
            if option not in layout.optional:
                settings[option] = choices[0]  # reading it says what is missing
    scores = [name for name in SCORES if name in settings or name in given]
    if len(scores) == 1 and scores[0] in settings:
        left = settings.pop(scores[0])
        notes.append(f"{files[0].file}: has {left} alone; no scores are kept")
    return settings


def _numbered(name: str, heads: Sequence[_Head]) -> tuple[str, ...]:
    """The columns that are called so, numbered or not, of all files; then those of each."""
    each = [[one for one in head.names if _unnumbered(one) == name] for head in heads]
    every = dict.fromkeys(one for names in each for one in names)
    lists = (sorted(names, key=lambda one: (len(one), one)) for names in (every, *each))
    return tuple(dict.fromkeys(",".join(names) for names in lists if names)) or (name,)


def _unnumbered(name: str) -> str:
    return re.sub(r"_[0-9]+$", "", name)


def _columns(written: str, option: str) -> list[Column]:
    templates = [parse_template(part, option) for part in listed({option: written}, option)]
    return [column for template in templates for column in template.columns]


def _roots(column: Column) -> tuple[str, str]:
    """The columns that a name with dots may be, or be in."""
    return column.name, column.name.partition(".")[0]


def _head(file: Path, cells: CellFormat, roots: set[str]) -> _Head:
    names: dict[str, None] = {}

    def choose(found: Sequence[str]) -> list[str]:
        names.update(dict.fromkeys(found))
        return [name for name in found if {name, _unnumbered(name)} & roots] or list(found)

    rows = islice(read_rows(Reading(skip_bad=BATCH), file, cells, choose), BATCH)
    return _Head(file, names, [record for _, record in rows])
