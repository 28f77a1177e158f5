"""Passages to search: of a store, of pair files, or of files with one passage a line."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.data.blocks import expand_globs
from hybrid_dist.data.languages import canonical
from hybrid_dist.data.reading import Reading, Text
from hybrid_dist.data.sources import lines
from hybrid_dist.data.sources.paths import without_compression
from hybrid_dist.data.store.format import is_store
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.text_sequence import Texts
from hybrid_dist.errors import UserError, nearest, short_list

PAIRS, OBJECTS, PLAIN = "pairs", "JSON lines of passages", "lines of text"
AT_ONCE = 4096
"""Passages of a store that are read together."""


@dataclass(frozen=True)
class Passages:
    """Passages, sorted by language."""

    texts: Texts
    """Where a passage has no id or no language, these are empty."""
    rows: Mapping[str, range]
    """The passages of each language."""

    @classmethod
    def of(cls, texts: Iterable[Text]) -> "Passages":
        """Passages in any order; those of a language keep theirs."""
        held = Texts.of(texts)
        column = held.column("lang").combine_chunks().dictionary_encode()
        given = column.dictionary.to_pylist()
        languages = sorted(given)
        places = np.array([languages.index(name) for name in given], np.int64)
        codes = places[column.indices.to_numpy()]
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(languages) + 1)).tolist()
        rows = {name: range(*edges[i : i + 2]) for i, name in enumerate(languages)}
        return cls(held.take(order), rows)

    @classmethod
    def read(cls, path: str, cache_dir: Path | None = None) -> "Passages":
        """The passages that a store, a file or a glob of files has; pair files become a cached
        store, so that equal passages of a language are one.

        JSON lines have a `text` and may have a `lang` and an `id`.
        """
        if is_store(Path(path)):
            return cls.of(_of_store(Store(Path(path))))
        files = expand_globs([path])
        kinds = {kind: file for file in reversed(files) for kind in [_kind(file)]}
        if len(kinds) > 1:
            named = "; ".join(f"{file} has {kind}" for kind, file in kinds.items())
            raise UserError(f"{path}: its files are of different kinds ({named}); name one kind")
        if PAIRS in kinds:
            return cls.of(_of_store(Store.open(path, cache_dir)))
        passages = cls.of(_of_lines(files, PLAIN in kinds))
        if not len(passages.texts):
            raise UserError(f"{path}: has no passages, only empty lines")
        return passages

    def of_languages(self, codes: Sequence[str]) -> list[range]:
        """The passages of some languages; a UserError where one has none."""
        there = [name for name in self.rows if name]
        names = set()
        for code in codes:
            try:
                name = canonical(code)
            except ValueError as error:
                raise UserError(f"--in: {error}") from None
            if name not in there:
                has = f"they are in {short_list(there)}" if there else "theirs are not known"
                raise UserError(f"--in {code}: no passage is in it{nearest(name, there)}; {has}")
            names.add(name)
        return [self.rows[name] for name in sorted(names)]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the passages' ids and languages; vectors depend on the texts alone."""
        digest = hashlib.sha256()
        for name in ("id", "lang"):
            for value in self.texts.column(name).to_pylist():
                digest.update(f"{len(value)} {value}".encode())
        return digest.hexdigest()


def _kind(file: Path) -> str:
    """What a file holds, by its name and its first line that is not empty."""
    name = without_compression(file.name).lower()
    if name.endswith((".csv", ".tsv")):
        raise UserError(
            f"{file}: is a table; write its passages as JSON lines with text, lang and id, or make "
            "a store of it with `hybrid-dist prepare table`"
        )
    if name.endswith(".parquet"):
        return PAIRS
    first = next((line for _, line in lines.lines(Reading(), file) if line.strip()), "")
    if name.endswith(".txt") or not (first.startswith("{") or name.endswith((".jsonl", ".json"))):
        return PLAIN
    _, record = next(lines.objects(Reading(), file), (0, {}))
    return PAIRS if "passage" in record else OBJECTS


def _of_lines(files: Iterable[Path], plain: bool) -> Iterator[Text]:
    """A passage a line; one without an id is called after its file and line."""
    reading = Reading()
    for file in files:
        if plain:
            for number, line in lines.lines(reading, file):
                if line.strip():
                    yield Text(f"{file.name}:{number}", "", lines.nfc(line.strip()))
        else:
            for place, (name, lang, text) in lines.records(reading, file, _passage):
                row = reading.where(place).rpartition(":")[2]
                yield Text(name or f"{file.name}:{row}", lang, text)


def _passage(record: Mapping[str, Any]) -> Text:
    """A ValueError says what is wrong with a record."""
    name, lang = record.get("id"), record.get("lang")
    return Text(
        "" if name is None else lines.key(record, "id"),
        "" if lang is None else Reading().language(lines.text(record, "lang")),
        lines.text(record, "text"),
    )


def _of_store(store: Store) -> Iterator[Text]:
    """The distinct passages of each language, with the first of their uids."""
    index = store.index
    row = np.full(len(store.passage_column), -1)
    row[index.passage_of[::-1]] = np.arange(index.num_rows)[::-1]
    ends = np.cumsum([store.manifest["languages"][name]["passages"] for name in index.languages])
    for low in range(0, len(row), AT_ONCE):
        numbers = np.arange(low, min(low + AT_ONCE, len(row)))
        languages = np.searchsorted(ends, numbers, side="right")
        answers = row[numbers] >= 0  # the others are hard negatives only
        ids = np.full(len(numbers), "", object)
        ids[answers] = store.uids(row[numbers][answers])
        for name, code, text in zip(ids, languages, store.passage_texts(numbers), strict=True):
            yield Text(name, index.languages[code], text)
