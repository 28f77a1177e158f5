"""Writing the pairs of a store in the layouts of other trainers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hybrid_dist.data.export import beir_folders, pair_tables, trainer_lines
from hybrid_dist.data.export.exported_pairs import Block, ExportedPairs
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import atomic_file, atomic_folder, check_new_folder, made_parents

UIDS = "uids, which link translations"
LANGUAGES = "languages: each has a file of its own"
ADDED = {"tokens": "token ids", "teacher": "vectors of a teacher"}
"""What a store may hold beside pairs and scores, by its entry in the manifest."""


@dataclass(frozen=True)
class Choices:
    """Options of some layouts."""

    negatives: int | None = None
    """How many negatives each row of sentence-transformers has."""
    pool: bool = False
    """Whether BEIR's folder holds all languages."""


class Written(NamedTuple):
    """What files hold."""

    pairs: Mapping[str, int]
    """How many, by language."""
    notes: list[str]
    """What there is no place for, and what was left out."""


Write = Callable[[ExportedPairs, Path, Choices], Written]
"""Fills an empty folder."""


def convert(pairs: ExportedPairs, to: str, out: Path, choices: Choices = Choices()) -> Written:
    """Write pairs in a layout of `LAYOUTS`; an error leaves nothing behind."""
    check_new_folder(out)
    if choices.negatives is not None and to != "sentence-transformers":
        raise UserError(f"--negatives: {to} has the negatives that a pair has; leave it out")
    if choices.pool and to != "beir":
        raise UserError(f"--pool: {to} has no pool of passages; leave it out")
    if to == "parquet":
        written = _parquet(pairs, out)
    else:
        with atomic_folder(out) as folder:
            written = LAYOUTS[to](pairs, folder, choices)
    lacking = [what for entry, what in ADDED.items() if entry in pairs.store.manifest]
    return written._replace(notes=[*written.notes, *(f"no place for {what}" for what in lacking)])


def _sentence_transformers(pairs: ExportedPairs, folder: Path, choices: Choices) -> Written:
    """A Parquet file for each language, with as many columns of negatives for each row."""
    listed = {language: pairs.listed_negatives(language) for language in pairs.languages}
    most = max(int(some.max()) for some in listed.values())
    count = choices.negatives
    if count is None:
        count = min(int(some.min()) for some in listed.values())
    elif not 0 <= count <= most:
        problem = "is too few" if count < 0 else f"leaves out all pairs, which have {most} at most"
        raise UserError(f"--negatives: {count} {problem}; give 0 to {most}")
    schema = pair_tables.tuples_schema(count, pairs.has_scores)
    kept = {language: some[some >= count] for language, some in listed.items()}
    kept = {language: some for language, some in kept.items() if len(some)}
    written = {}
    for language in kept:
        columns = (pair_tables.tuples(block, count) for block in pairs.blocks(language))
        with (folder / f"{language}.parquet").open("wb") as out:
            written[language] = pair_tables.write(out, schema, columns)
    left_out = sum(map(len, listed.values())) - sum(written.values())
    unused = sum(int((some - count).sum()) for some in kept.values())
    notes = [f"no place for {UIDS}", f"no place for {LANGUAGES}"]
    if left_out:
        notes.append(f"left out: {left_out:,} pairs with fewer than {count} negatives")
    if unused:
        notes.append(f"left out: {unused:,} negatives beyond {count} for each pair (--negatives)")
    return Written(written, notes)


def _json_lines(
    pairs: ExportedPairs,
    folder: Path,
    _: Choices,
    records: Callable[[Block], Iterator[trainer_lines.Record]],
    lacking: tuple[str, ...],
) -> Written:
    """A file of JSON lines for each language."""
    for language in pairs.languages:
        of_language = (record for block in pairs.blocks(language) for record in records(block))
        trainer_lines.write(folder / f"{language}.jsonl", of_language)
    return Written(pairs.sizes(), [f"no place for {what}" for what in lacking])


def _tevatron(pairs: ExportedPairs, folder: Path, choices: Choices) -> Written:
    lacking = (LANGUAGES, *(["scores"] if pairs.has_scores else []))
    return _json_lines(pairs, folder, choices, trainer_lines.tevatron, lacking)


def _beir(pairs: ExportedPairs, folder: Path, choices: Choices) -> Written:
    if choices.pool:
        beir_folders.write_pool(pairs, folder)
    else:
        beir_folders.write_folders(pairs, folder)
    where = "ids begin with them" if choices.pool else "each has a folder of its own"
    lacking = [f"languages: {where}", *(["scores"] if pairs.has_scores else [])]
    return Written(pairs.sizes(), [f"no place for {what}" for what in lacking])


LAYOUTS: dict[str, Write] = {
    "sentence-transformers": _sentence_transformers,
    "flagembedding": partial(
        _json_lines, records=trainer_lines.flagembedding, lacking=(UIDS, LANGUAGES)
    ),
    "tevatron": _tevatron,
    "beir": _beir,
}
"""By the name of the other trainer, or of what it reads."""


def _parquet(pairs: ExportedPairs, out: Path) -> Written:
    """One Parquet file with the columns of pair files."""
    if out.suffix != ".parquet":
        raise UserError(f"--out {out}: a pair file of this kind is called NAME.parquet")
    columns = (pair_tables.pairs(b) for language in pairs.languages for b in pairs.blocks(language))
    with made_parents(out), atomic_file(out) as file:
        pair_tables.write(file, pair_tables.pairs_schema(pairs.has_scores), columns)
    return Written(pairs.sizes(), [])
