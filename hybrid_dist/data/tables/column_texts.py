r"""Texts made of a row's columns: a column's name, or a template such as `{title}\n{text}`.

A dot goes into an object: `answer.text`. Where a column holds a list, a text is made of each
element: `{positive_passages.title} {positive_passages.text}`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hybrid_dist.data.reading import short
from hybrid_dist.data.sources.lines import BadRecord, Record, nfc
from hybrid_dist.errors import UserError

PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|\\[nt\\]")
ESCAPES = {r"\n": "\n", r"\t": "\t", "\\\\": "\\", "{{": "{", "}}": "}"}


@dataclass(frozen=True)
class Column:
    """A column by its name, or a field of the objects in one: `answer.text`."""

    name: str

    def root(self, names: Mapping[str, Any]) -> str:
        """The column of a row that this is, or is in. A column's own name may have dots."""
        return self.name if self.name in names else self.name.partition(".")[0]

    def value(self, record: Record) -> Any:
        """What a row has there; None where it has nothing."""
        root = self.root(record)
        value = record.get(root)
        for field in self.name.removeprefix(root).split(".")[1:]:
            if value is None:
                return None
            if not isinstance(value, Mapping):
                raise BadRecord(
                    f"column {self.name}: expected an object with {field!r}, found {short(value)}"
                )
            value = value.get(field)
        return value


@dataclass(frozen=True)
class Template:
    """A text with columns in it."""

    parts: tuple[str | Column, ...]
    written: str
    """As it was given."""

    @property
    def columns(self) -> Iterator[Column]:
        return (part for part in self.parts if isinstance(part, Column))

    def text(self, record: Record) -> str:
        """The text of a row; a BadRecord where it is empty or a column holds no text."""
        if len(self.parts) == 1 and isinstance(column := self.parts[0], Column):
            value = column.value(record)
            if not isinstance(value, str) or not value.strip():
                raise _no_text([column], record)
            return nfc(value)
        texts = [part if isinstance(part, str) else _inserted(part, record) for part in self.parts]
        parts = zip(self.parts, texts, strict=True)
        if not any(text.strip() for part, text in parts if isinstance(part, Column)):
            raise _no_text(list(dict.fromkeys(self.columns)), record)
        return nfc("".join(texts).strip())

    def key(self, record: Record) -> str:
        """The same for an id, which may be a whole number."""
        if len(self.parts) == 1 and isinstance(column := self.parts[0], Column):
            value = column.value(record)
            if type(value) is int:
                return str(value)
        return self.text(record)

    def texts(self, record: Record) -> list[str]:
        """The texts of a row: of each element if a column holds a list, none if there is none."""
        elements = expand(record, [self])
        if elements is not None:
            return [self.text(element) for element in elements]
        values = [column.value(record) for column in self.columns]
        if all(value is None or (isinstance(value, str) and not value.strip()) for value in values):
            return []
        return [self.text(record)]


def _no_text(columns: list[Column], record: Record) -> BadRecord:
    if len(columns) == 1:
        found = short(columns[0].value(record))
        return BadRecord(f"column {columns[0].name}: expected a non-empty text, found {found}")
    names = ", ".join(column.name for column in columns)
    return BadRecord(f"columns {names}: expected a text in one of them, found none")


def _inserted(column: Column, record: Record) -> str:
    """A column's text inside of others: nothing where it is empty, a whole number as digits."""
    value = column.value(record)
    if value is None:
        return ""
    if not isinstance(value, str) and type(value) is not int:
        raise BadRecord(f"column {column.name}: expected a text, found {short(value)}")
    return str(value)


def expand(record: Record, templates: list[Template]) -> list[Record] | None:
    """The row once for each element of the list in it that templates name; None without a list."""
    columns = (column for template in templates for column in template.columns)
    lists = list(dict.fromkeys(path for one in columns if (path := _list_path(one, record))))
    if not lists:
        return None
    if len(lists) > 1:
        names = " and ".join(".".join(path) for path in lists)
        raise BadRecord(f"columns {names}: both hold lists; one list gives the pairs of a row")
    elements: Any = record
    for name in lists[0]:
        elements = elements[name]
    return [_replaced(record, lists[0], element) for element in elements]


def _list_path(column: Column, record: Record) -> tuple[str, ...]:
    """The names that lead to the list that a column holds or is in; none without a list."""
    root = column.root(record)
    value: Any = record
    path: tuple[str, ...] = ()
    for name in (root, *column.name.removeprefix(root).split(".")[1:]):
        if not isinstance(value, Mapping):
            break
        value, path = value.get(name), (*path, name)
        if isinstance(value, list):
            return path
    return ()


def _replaced(record: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A row, or an object in it, with another value at a path."""
    name, *more = path
    return {**record, name: _replaced(record[name], more, value) if more else value}


def field_names(record: Record, column: Column) -> Iterator[str]:
    """The names with dots of all fields beside the one that a column names."""
    root = column.root(record)
    values: list[Any] = [record.get(root)]
    path = root
    for field in column.name.removeprefix(root).split(".")[1:]:
        values = [
            one for value in values for one in (value if isinstance(value, list) else [value])
        ]
        objects = [value for value in values if isinstance(value, dict)]
        yield from (f"{path}.{name}" for value in objects for name in value)
        path, values = f"{path}.{field}", [value.get(field) for value in objects]


def parse_template(written: str, option: str) -> Template:
    """A template, or a column's name if it has no braces."""
    if "{" not in written and "}" not in written:
        if not written.strip():
            raise UserError(f"option {option}: is empty; name a column")
        return Template((Column(written.strip()),), written)
    parts: list[str | Column] = []
    end = 0
    for found in PIECE.finditer(written):
        parts.append(written[end : found.start()])
        end = found.end()
        if found[1] is not None and found[1].strip():
            parts.append(Column(found[1].strip()))
        elif found[0] in ESCAPES:
            parts.append(ESCAPES[found[0]])
        else:
            raise UserError(
                f"option {option}={written}: {found[0]!r} names no column; write {{COLUMN}}, and "
                "{{ or }} for a brace"
            )
    parts.append(written[end:])
    template = Template(tuple(part for part in parts if part != ""), written)
    if not any(template.columns):
        raise UserError(f"option {option}={written}: has no column; write {{COLUMN}} for one")
    return template
