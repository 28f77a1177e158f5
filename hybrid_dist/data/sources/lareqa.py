"""LAReQA's JSON (XQuAD-R, MLQA-R): SQuAD's, with `sentence_breaks`. Sentences are retrieved.

Every sentence of every paragraph is a candidate; the relevant one contains the start of the answer.
Its id is LAReQA's: the number of the paragraph from 1 and of the sentence in it from 0.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Pair, Placed, blocks, collect
from hybrid_dist.data.sources.lines import BadRecord, nfc
from hybrid_dist.data.sources.source import Source, check_languages, wanted_languages
from hybrid_dist.data.sources.squad import Paragraph, Query, answered, paragraphs
from hybrid_dist.errors import UserError, nearest

VARIANTS = ("sentence", "sentence+context")


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """A query and the sentence that answers it."""

    def generate() -> Iterator[Pair]:
        for paragraph, sentences in _paragraphs(paths, reading):
            for query, right in _right(paragraph, reading):
                passage = sentences[right[0]].text
                yield Pair(query.id, paragraph.lang, query.text, passage, [], query.place)

    return blocks(generate())


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """All sentences, and the queries with their sentences in every language."""
    queries: list[Placed] = []
    passages: list[Placed] = []
    answers: Answers = {}
    for paragraph, sentences in _paragraphs(paths, reading):
        passages += ((paragraph.place, sentence) for sentence in sentences)
        for query, right in _right(paragraph, reading):
            queries.append((query.place, Text(query.id, paragraph.lang, query.text)))
            for number in right:
                passage = paragraph.lang, sentences[number].id
                answers.setdefault(query.id, {})[passage] = Answer(1, query.place)
    return collect(reading, queries, passages, answers)


def _paragraphs(paths: Sequence[str], reading: Reading) -> Iterator[tuple[Paragraph, list[Text]]]:
    """Paragraphs with the candidates in them."""
    variant = reading.options.get("variant", VARIANTS[0])
    if variant not in VARIANTS:
        raise UserError(
            f"lareqa: unknown variant {variant!r}{nearest(variant, VARIANTS)} "
            f"(known: {', '.join(VARIANTS)})"
        )
    only = wanted_languages(reading)
    files: dict[str, Any] = {}
    numbers: Counter[str] = Counter()
    for paragraph in paragraphs(paths, reading):
        numbers[paragraph.lang] += 1
        if files.setdefault(paragraph.lang, paragraph.file) != paragraph.file:
            raise UserError(
                f"{paragraph.file}: {files[paragraph.lang]} is in {paragraph.lang} too; name a "
                "folder of one data set"
            )
        if only is not None and paragraph.lang not in only:
            continue
        try:
            sentences = [nfc(paragraph.context[a:b]) for a, b in _breaks(paragraph)]
            if not all(map(str.strip, sentences)):
                raise BadRecord("a sentence of sentence_breaks is empty")
        except BadRecord as error:
            reading.refuse(reading.where(paragraph.place), str(error))
            continue
        if variant == "sentence+context":
            sentences = [f"{sentence} {nfc(paragraph.context)}" for sentence in sentences]
        yield (
            paragraph,
            [
                Text(f"{numbers[paragraph.lang]}_{number}", paragraph.lang, sentence)
                for number, sentence in enumerate(sentences)
            ],
        )
    check_languages(reading, files, ", ".join(paths))


def _right(paragraph: Paragraph, reading: Reading) -> Iterator[tuple[Query, list[int]]]:
    """Queries, and the numbers of the sentences in which their answers start."""
    breaks = _breaks(paragraph)
    for query in answered(paragraph, reading):
        right = [
            number
            for number, (start, end) in enumerate(breaks)
            if any(start <= answer < end for answer in query.starts)
        ]
        if right:
            yield query, right
        else:
            reading.refuse(
                reading.where(query.place),
                f"query {query.id}: expected an answer that starts in a sentence of its "
                f"paragraph; answer_start is {query.starts[0]}",
            )


def _breaks(paragraph: Paragraph) -> list[tuple[int, int]]:
    given = paragraph.record.get("sentence_breaks")
    try:
        breaks = [(start, end) for start, end in given]  # type: ignore[union-attr]
        whole = all(type(offset) is int for pair in breaks for offset in pair)
        if whole and all(0 <= start < end <= len(paragraph.context) for start, end in breaks):
            return breaks
    except (TypeError, ValueError):
        pass
    raise BadRecord(
        "expected sentence_breaks, a list of [start, end) offsets in the paragraph, whole numbers"
        + ("" if "sentence_breaks" in paragraph.record else "; SQuAD's own files: use squad")
    )


SOURCE = Source(
    "lareqa",
    "LAReQA's JSON by language: XQuAD-R, MLQA-R; sentences are retrieved",
    "ar.json, de.json, ...: SQuAD's JSON with sentence_breaks in every paragraph",
    pairs,
    collection,
    {
        "variant": f"what a candidate is: {' (the default) or '.join(VARIANTS)}",
        "languages": "read these only, as in languages=ar,de",
    },
)
