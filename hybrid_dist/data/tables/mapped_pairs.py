"""Rows of tables as training pairs, one by one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hybrid_dist.data.reading import Reading, short
from hybrid_dist.data.sources.collecting import Pair, ScoredPair
from hybrid_dist.data.sources.lines import BadRecord, Record
from hybrid_dist.data.tables.column_texts import Column, expand
from hybrid_dist.data.tables.mapped_rows import row_language
from hybrid_dist.data.tables.mapping import TableMapping
from hybrid_dist.data.tables.table_files import TableFile
from hybrid_dist.data.tables.table_rows import Row

LARGEST = 3.4e38
"""Scores are kept in 32 bits."""


@dataclass
class Tally:
    """Rows of all files so far."""

    rows: int = 0
    left_out: int = 0
    """By conditions."""
    without: int = 0
    """Rows with an empty list."""


def pairs_of_rows(
    mapping: TableMapping, rows: Iterable[Row], reading: Reading, source: TableFile, tally: Tally
) -> Iterator[Pair | ScoredPair]:
    """The pairs of a file's rows; bad rows are refused."""
    file, name = source
    first = reading.place(file, 0)
    for number, record in rows:
        tally.rows += 1
        try:
            if not all(condition.holds(record) for condition in mapping.where):
                tally.left_out += 1
                continue
            pairs = list(_of_row(mapping, record, reading, f"{name}:{number}", first + number))
        except BadRecord as problem:
            reading.refuse(f"{file}:{number}", str(problem))
            continue
        tally.without += not pairs
        yield from pairs


def _of_row(
    mapping: TableMapping, record: Record, reading: Reading, name: str, place: int
) -> Iterator[Pair | ScoredPair]:
    """The pairs of a row: one for each side, and for each element of a list."""
    for side in mapping.sides:
        elements = expand(record, [side.query, side.passage])
        for number, element in enumerate([record] if elements is None else elements):
            uid = name if mapping.uid is None else mapping.uid.key(element)
            pair = Pair(
                uid=uid if elements is None else f"{uid}#{number}",
                lang=row_language(reading, side.lang, element),
                query=side.query.text(element),
                passage=side.passage.text(element),
                negatives=[t for template in mapping.negatives for t in template.texts(element)],
                place=place,
            )
            if mapping.scores is None:
                yield pair
                continue
            at = None if elements is None else (number, len(elements))
            yield ScoredPair(*pair, *_scores(*mapping.scores, record, at, len(pair.negatives)))


def _scores(
    positive: Column,
    negative: Column,
    record: Record,
    at: tuple[int, int] | None,
    negatives: int,
) -> tuple[float, list[float]]:
    """The scores of a row's passage and of its negatives.

    `at`: if the passage is one of a list, its place there and the list's length.
    """
    score, scores = positive.value(record), negative.value(record)
    if at is not None:
        number, passages = at
        if not isinstance(score, list) or len(score) != passages:
            raise BadRecord(
                f"column {positive.name}: expected {passages} scores, one per passage, found "
                f"{short(score)}"
            )
        score = score[number]
    scores = [] if scores is None and not negatives else scores
    if not isinstance(scores, list) or len(scores) != negatives:
        raise BadRecord(
            f"column {negative.name}: expected {negatives} scores, one per negative, found "
            f"{short(scores)}"
        )
    for column, value in ((positive, score), *((negative, one) for one in scores)):
        if type(value) not in (int, float) or not abs(value) <= LARGEST:
            raise BadRecord(f"column {column.name}: expected a score, found {short(value)}")
    return float(score), [float(one) for one in scores]
