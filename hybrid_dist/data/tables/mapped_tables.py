"""Tables as training pairs: files, a mapping, and blocks of pairs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.collecting import blocks
from hybrid_dist.data.tables.known_layouts import Layout
from hybrid_dist.data.tables.layout_columns import layout_settings
from hybrid_dist.data.tables.mapped_columns import Mapped, Rows, map_columns
from hybrid_dist.data.tables.mapped_pairs import Tally, pairs_of_rows
from hybrid_dist.data.tables.mapped_rows import cell_format, chooser, delimiter_hint, mapped_rows
from hybrid_dist.data.tables.mapping import (
    Settings,
    TableMapping,
    conditions,
    mapping_of,
    one_text,
    replaced,
    settings_of,
)
from hybrid_dist.data.tables.table_files import TableFile, find_tables
from hybrid_dist.data.tables.table_rows import (
    BATCH,
    CellFormat,
    has_columns,
    is_valid,
    read_batches,
    read_rows,
    rows_of,
)
from hybrid_dist.data.threads import prefetch_map
from hybrid_dist.errors import UserError

NEEDED = ("query", "passage", "lang or lang_column")


def table_blocks(
    paths: Sequence[str], reading: Reading, layout: Layout | None = None
) -> Iterator[pa.RecordBatch]:
    """The pairs of all rows, file after file. Options of a `layout` hold where none are given."""
    settings = settings_of(reading.options)
    cells = cell_format(settings)
    files = find_tables(paths, one_text(settings, "config"), one_text(settings, "split"))
    if layout is not None:
        of_layout = layout_settings(layout, files, cells, settings, reading.notes)
        settings = replaced(of_layout, settings)
    _check_named(settings, files[0].file, cells)
    mapping = mapping_of(settings)
    reading.mapping.update(settings)
    tally = Tally()
    columns = [(f"option {option}", column) for option, column in mapping.columns()]
    has_fields = any("." in column.name for _, column in columns)
    for source in files:
        if has_columns(source.file) and not has_fields:
            parts = (
                Rows(source.name, number, reading.place(source.file, number), batch)
                for number, batch in read_batches(source.file, chooser(source.file, columns))
            )
            map_part = partial(_mapped, mapping, source.file)
            for part, tried in prefetch_map(map_part, parts):
                yield from _of_part(mapping, part, tried, reading, source, tally)
        else:
            rows = mapped_rows(reading, source.file, cells, columns)
            yield from blocks(pairs_of_rows(mapping, rows, reading, source, tally))
    _note(tally, paths, settings, reading)


class _Tried(NamedTuple):
    """What came of mapping rows column by column."""

    valid: bool
    """Whether all values are of their columns' types."""
    mapped: Mapped | None
    """None if the rows have to be mapped one by one."""


def _mapped(mapping: TableMapping, file: Path, rows: Rows, valid: bool = False) -> _Tried:
    """`valid`: all values are known to be of their columns' types."""
    valid = valid or is_valid(file, rows.batch)
    return _Tried(valid, map_columns(mapping, rows) if valid else None)


def _of_part(
    mapping: TableMapping,
    rows: Rows,
    tried: _Tried,
    reading: Reading,
    source: TableFile,
    tally: Tally,
) -> Iterator[pa.RecordBatch]:
    """The pairs of some rows; of those of their parts that need it, row by row."""
    batch, mapped = rows.batch, tried.mapped
    if mapped is not None:
        tally.rows += len(batch)
        tally.left_out += mapped.left_out
        reading.named.update(mapped.renamed)
        if len(mapped.pairs):
            yield mapped.pairs
    elif len(batch) > BATCH:
        for start in range(0, len(batch), BATCH):
            part = Rows(
                rows.name, rows.number + start, rows.place + start, batch.slice(start, BATCH)
            )
            of_part = _mapped(mapping, source.file, part, tried.valid)
            yield from _of_part(mapping, part, of_part, reading, source, tally)
    else:
        by_row = rows_of(reading, source.file, batch, rows.number)
        yield from blocks(pairs_of_rows(mapping, by_row, reading, source, tally))


def _note(tally: Tally, paths: Sequence[str], settings: Settings, reading: Reading) -> None:
    """Note rows without a pair; a UserError if conditions leave out all."""
    rows, left_out = tally.rows, tally.left_out
    if tally.without:
        reading.notes.append(
            f"{tally.without:,} of {rows:,} rows have an empty list and give no pair"
        )
    if conditions(settings):
        shown = " and ".join(conditions(settings))
        reading.notes.append(f"where {shown}: left out {left_out:,} of {rows:,} rows")
        if left_out and left_out == rows:
            raise UserError(
                f"{', '.join(paths)}: option where={shown} leaves out all {rows:,} rows"
            )


def _check_named(settings: Settings, file: Path, cells: CellFormat) -> None:
    """Refuse a mapping without query, passage or language, and say which columns there are."""
    lacking = [one for one in NEEDED if not any(name in settings for name in one.split(" or "))]
    if not lacking:
        return

    def stop(names: Sequence[str]) -> list[str]:
        raise UserError(
            f"{file}: say which columns make the pairs: give the options {', '.join(lacking)} "
            f"(its columns: {', '.join(names) or 'none'}){delimiter_hint(file, names)}"
        )

    next(read_rows(Reading(skip_bad=BATCH), file, cells, stop), None)
