"""LAReQA's JSON (XQuAD-R, MLQA-R): SQuAD's, with `sentence_breaks`. Sentences are retrieved.

Every sentence of every paragraph is a candidate. The right one holds the start of the answer. It is
named as LAReQA does: by the paragraph's number from 1 and its own in the paragraph from 0.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Pair, Placed, blocks, collect
from hybrid_dist.data.sources.lines import Bad, normal
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.sources.squad import Paragraph, Question, answered, paragraphs
from hybrid_dist.errors import UserError, nearest

VARIANTS = ("sentence", "sentence+context")


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """A question and the sentence that answers it."""

    def found() -> Iterator[Pair]:
        for paragraph, sentences in _paragraphs(paths, reading):
            for question, right in _right(paragraph, reading):
                told = sentences[right[0]].text
                yield Pair(question.id, paragraph.lang, question.text, told, [], question.place)

    return blocks(found())


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """All sentences, and the questions with their sentences in every language."""
    questions: list[Placed] = []
    passages: list[Placed] = []
    answers: Answers = {}
    for paragraph, sentences in _paragraphs(paths, reading):
        passages += ((paragraph.place, sentence) for sentence in sentences)
        for question, right in _right(paragraph, reading):
            asked = Text(question.id, paragraph.lang, question.text)
            questions.append((question.place, asked))
            for number in right:
                told = paragraph.lang, sentences[number].id
                answers.setdefault(question.id, {})[told] = Answer(1, question.place)
    return collect(reading, questions, passages, answers)


def _paragraphs(paths: Sequence[str], reading: Reading) -> Iterator[tuple[Paragraph, list[Text]]]:
    """Paragraphs with the candidates in them."""
    variant = reading.options.get("variant", VARIANTS[0])
    if variant not in VARIANTS:
        raise UserError(
            f"lareqa: unknown variant {variant!r}{nearest(variant, VARIANTS)} "
            f"(known: {', '.join(VARIANTS)})"
        )
    files: dict[str, Any] = {}
    numbers: Counter[str] = Counter()
    for paragraph in paragraphs(paths, reading):
        numbers[paragraph.lang] += 1
        if files.setdefault(paragraph.lang, paragraph.file) != paragraph.file:
            raise UserError(
                f"{paragraph.file}: {files[paragraph.lang]} is in {paragraph.lang} too; name a "
                "folder of one data set"
            )
        try:
            sentences = [normal(paragraph.context[a:b]) for a, b in _breaks(paragraph)]
            if not all(map(str.strip, sentences)):
                raise Bad("a sentence of sentence_breaks is empty")
        except Bad as error:
            reading.refuse(reading.where(paragraph.place), str(error))
            continue
        if variant == "sentence+context":
            sentences = [f"{sentence} {normal(paragraph.context)}" for sentence in sentences]
        yield (
            paragraph,
            [
                Text(f"{numbers[paragraph.lang]}_{number}", paragraph.lang, sentence)
                for number, sentence in enumerate(sentences)
            ],
        )


def _right(paragraph: Paragraph, reading: Reading) -> Iterator[tuple[Question, list[int]]]:
    """Questions, and the numbers of the sentences in which their answers start."""
    breaks = _breaks(paragraph)
    for question in answered(paragraph, reading):
        right = [
            number
            for number, (start, end) in enumerate(breaks)
            if any(start <= answer < end for answer in question.starts)
        ]
        if right:
            yield question, right
        else:
            reading.refuse(
                reading.where(question.place),
                f"question {question.id}: expected an answer that starts in a sentence of its "
                f"paragraph; answer_start is {question.starts[0]}",
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
    raise Bad(
        "expected sentence_breaks, a list of [start, end) offsets in the paragraph, whole numbers"
        + ("" if "sentence_breaks" in paragraph.record else "; SQuAD's own files: use squad")
    )


SOURCE = Source(
    "lareqa",
    "LAReQA's JSON by language: XQuAD-R, MLQA-R; sentences are retrieved",
    pairs,
    collection,
    {"variant": f"what a candidate is: {' (the default) or '.join(VARIANTS)}"},
)
